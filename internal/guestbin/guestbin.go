// Package guestbin carries the guest's binary inside the host's. It refuses to hand out a file
// whose bytes are not the ones that were built in.
package guestbin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Name is the name of the guest's binary, in here and where Extract puts it.
const Name = "cellhold-guest"

// The binary is built by `make build` and not committed; the folder's README is, so that the
// package compiles without it.
//
//go:embed bin
var files embed.FS

// ErrNotBuiltIn says that this binary was built without the guest's.
var ErrNotBuiltIn = errors.New("this cellhold was built without its guest binary; build it with: make build")

// Extract writes the guest's binary below dir and returns its path, <dir>/<digest>/cellhold-guest.
// A file that is there already is used again if its bytes are right. Several processes may do this
// at once.
func Extract(dir string) (string, error) {
	want, err := files.ReadFile("bin/" + Name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNotBuiltIn
	}
	if err != nil {
		return "", fmt.Errorf("guest binary: %w", err)
	}
	return put(dir, want)
}

// put writes data to its content's address below dir, unless it is there.
func put(dir string, data []byte) (string, error) {
	digest := sha256.Sum256(data)
	dir = filepath.Join(dir, hex.EncodeToString(digest[:16]))
	path := filepath.Join(dir, Name)
	if good(path, data) {
		return path, nil
	}
	// Sandboxes mount the folder: everybody may read and enter it, only its owner may write.
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return "", fmt.Errorf("guest binary: %w", err)
	}
	if err := replace(path, data); err != nil {
		return "", fmt.Errorf("guest binary: %w", err)
	}
	return path, nil
}

// good reports whether path is a regular, executable file with exactly these bytes, which only
// its owner may write.
func good(path string, want []byte) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o755 || info.Size() != int64(len(want)) {
		return false
	}
	got, err := os.ReadFile(path)
	return err == nil && bytes.Equal(got, want)
}

// replace puts the whole file in place in one step, so that nobody ever runs half of it. A running
// sandbox keeps the file that it has open.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails, as it should, once it has been renamed
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
