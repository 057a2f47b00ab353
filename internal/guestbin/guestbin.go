// Package guestbin carries the guest's binary inside the server's binary. It writes the binary to disk, and finds the
// guest binaries of other builds on disk. Package builds says how.
package guestbin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"cellhold/internal/builds"
)

// Name is the file name of the guest's binary, in this package and on disk.
const Name = "cellhold-guest"

// `make build` builds the binary; it is not committed. The folder's README is committed, so that the
// package compiles without the binary.
//
//go:embed bin
var files embed.FS

// ErrNotBuiltIn says that this binary was built without the guest's binary.
var ErrNotBuiltIn = errors.New("this cellhold was built without its guest binary; build it with: make build")

// Open returns the guest binaries in a folder, and writes the one of this build.
func Open(dir string) (*builds.Builds, error) {
	f, err := files.Open("bin/" + Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBuiltIn
	}
	if err != nil {
		return nil, fmt.Errorf("guest binary: %w", err)
	}
	defer f.Close()
	content := f.(io.ReadSeeker) // a promise of embed.FS
	h := sha256.New()
	if _, err = io.Copy(h, content); err == nil {
		_, err = content.Seek(0, io.SeekStart)
	}
	var b *builds.Builds
	if err == nil {
		b, err = builds.Open(dir, builds.Program{Name: Name, Digest: hex.EncodeToString(h.Sum(nil)), Content: content})
	}
	if err != nil {
		return nil, fmt.Errorf("guest binary: %w", err)
	}
	return b, nil
}
