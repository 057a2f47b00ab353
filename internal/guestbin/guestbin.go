// Package guestbin carries the guest's binary inside the server's binary. On disk it also keeps the guest
// binaries of other builds while sessions or snapshots need them. It never returns a file whose bytes
// differ from the ones that were built in.
//
// Each binary has a folder of its own, named by its digest. A process that uses a binary holds a lock on
// its folder, so that no other process removes it.
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
	"regexp"

	"golang.org/x/sys/unix"
)

// Name is the file name of the guest's binary, in this package and on disk.
const Name = "cellhold-guest"

// mode is the mode of binaries and their folders. Sandboxes run them with another uid.
const mode = 0o755

// `make build` builds the binary; it is not committed. The folder's README is committed, so that the
// package compiles without the binary.
//
//go:embed bin
var files embed.FS

// ErrNotBuiltIn says that this binary was built without the guest's binary.
var ErrNotBuiltIn = errors.New("this cellhold was built without its guest binary; build it with: make build")

// Guests are the guest binaries in a folder: the one of this build, which is held until Close, and those of
// other builds.
type Guests struct {
	dir, path string
	held      *os.File
}

// Open writes this build's binary to <dir>/<digest>/cellhold-guest, unless it is there. Several processes
// can do this at the same time.
func Open(dir string) (*Guests, error) {
	want, err := files.ReadFile("bin/" + Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBuiltIn
	}
	if err == nil {
		var g *Guests
		if g, err = open(dir, want); err == nil {
			return g, nil
		}
	}
	return nil, fmt.Errorf("guest binary: %w", err)
}

func open(dir string, data []byte) (*Guests, error) {
	digest := sha256.Sum256(data)
	folder := filepath.Join(dir, folderOf(hex.EncodeToString(digest[:])))
	held, err := hold(folder)
	if err != nil {
		return nil, err
	}
	g := &Guests{dir: dir, path: filepath.Join(folder, Name), held: held}
	if !good(g.path, data) {
		if err := replace(g.path, data); err != nil {
			return nil, errors.Join(err, g.Close())
		}
	}
	return g, nil
}

// Path returns the path of this build's binary.
func (g *Guests) Path() string { return g.path }

// Close releases the binary. It can be called twice.
func (g *Guests) Close() error {
	if err := g.held.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// folderOf returns the name of a digest's folder: half of the digest, because paths must be short.
func folderOf(digest string) string { return digest[:32] }

// A SHA-256 digest in hexadecimal digits, and the name of its folder.
var (
	digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
	folderPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// Find returns the path of the binary with a SHA-256 digest, from any build. It has compared the bytes.
func (g *Guests) Find(digest string) (string, error) {
	if !digestPattern.MatchString(digest) {
		return "", fmt.Errorf("find a guest binary: %q is not a SHA-256 digest", digest)
	}
	path := filepath.Join(g.dir, folderOf(digest), Name)
	if info, err := os.Lstat(path); err != nil {
		return "", fmt.Errorf("guest binary: %w", err)
	} else if info.Mode() != mode {
		return "", fmt.Errorf("guest binary %s: its mode is %v; expected %v", path, info.Mode(), fs.FileMode(mode))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("guest binary: %w", err)
	}
	if is := sha256.Sum256(data); hex.EncodeToString(is[:]) != digest {
		return "", fmt.Errorf("guest binary %s: its bytes have changed", path)
	}
	return path, nil
}

// Prune removes the binaries that are not in needed and that no process holds.
func (g *Guests) Prune(needed map[string]bool) error {
	keep := map[string]bool{}
	for digest := range needed {
		if digestPattern.MatchString(digest) {
			keep[folderOf(digest)] = true
		}
	}
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return fmt.Errorf("guest binaries: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if folderPattern.MatchString(e.Name()) && !keep[e.Name()] {
			errs = append(errs, remove(filepath.Join(g.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// remove removes a folder unless a process holds it.
func remove(folder string) error {
	f, err := lock(folder, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return os.RemoveAll(folder)
}

// hold makes a folder if it does not exist, and locks it so that other processes do not remove it.
func hold(folder string) (*os.File, error) {
	for {
		// Sandboxes mount the folder: every user can read and enter it, only its owner can write.
		err := errors.Join(os.MkdirAll(folder, mode), os.Chmod(folder, mode))
		var f *os.File
		if err == nil {
			f, err = lock(folder, unix.LOCK_SH)
		}
		if !errors.Is(err, fs.ErrNotExist) { // otherwise another process has just removed it; try again
			return f, err
		}
	}
}

// lock opens a folder and locks it. The error is fs.ErrNotExist if it does not exist, or was removed during
// the call.
func lock(folder string, how int) (*os.File, error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	locked, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	now, err := os.Stat(folder)
	if err == nil && !os.SameFile(locked, now) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// good reports whether path is a regular, executable file with exactly these bytes that only its owner can
// write.
func good(path string, want []byte) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != mode || info.Size() != int64(len(want)) {
		return false
	}
	got, err := os.ReadFile(path)
	return err == nil && bytes.Equal(got, want)
}

// replace puts the file in place in one step, so that no sandbox runs half of it. A running sandbox keeps
// the file that it has open.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails, as intended, after the rename
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
