// Package guestbin carries the guest's binary inside the host's, and keeps those of other builds on disk for
// what still needs them. It refuses to hand out a file whose bytes are not the ones that were built in.
//
// Each is in a folder of its own, named by its digest. Who uses one holds a lock on its folder, so that no other
// process removes it.
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

// Name is the name of the guest's binary, in here and where Extract puts it.
const Name = "cellhold-guest"

// mode is that of binaries and their folders: sandboxes run them under another uid.
const mode = 0o755

// The binary is built by `make build` and not committed; the folder's README is, so that the
// package compiles without it.
//
//go:embed bin
var files embed.FS

// ErrNotBuiltIn says that this binary was built without the guest's.
var ErrNotBuiltIn = errors.New("this cellhold was built without its guest binary; build it with: make build")

// Guests are the guest's binaries in a folder: that of this build, which is held until Close, and others.
type Guests struct {
	dir, path string
	held      *os.File
}

// Open writes this build's binary below dir, at <dir>/<digest>/cellhold-guest, unless it is there. Several
// processes may do this at once.
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

// Path is where this build's binary is.
func (g *Guests) Path() string { return g.path }

// Close lets go of it. It may be called twice.
func (g *Guests) Close() error {
	if err := g.held.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// folderOf is the name of a digest's folder, half of it: paths have to be short.
func folderOf(digest string) string { return digest[:32] }

// A SHA-256 digest in hexadecimal digits, and the name of its folder.
var (
	digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
	folderPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// Find returns the path of the binary with that SHA-256 digest, whichever build it is of. Its bytes have been
// compared.
func (g *Guests) Find(digest string) (string, error) {
	if !digestPattern.MatchString(digest) {
		return "", fmt.Errorf("guest binary: %q is no digest", digest)
	}
	path := filepath.Join(g.dir, folderOf(digest), Name)
	if info, err := os.Lstat(path); err != nil {
		return "", fmt.Errorf("guest binary: %w", err)
	} else if info.Mode() != mode {
		return "", fmt.Errorf("guest binary %s: its mode is %v, and not %v", path, info.Mode(), fs.FileMode(mode))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("guest binary: %w", err)
	}
	if is := sha256.Sum256(data); hex.EncodeToString(is[:]) != digest {
		return "", fmt.Errorf("guest binary %s: its bytes are not what they were", path)
	}
	return path, nil
}

// Prune removes the binaries that are needed by none of those digests and held by no process.
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

// hold makes a folder if it is not there, and keeps other processes from removing it.
func hold(folder string) (*os.File, error) {
	for {
		// Sandboxes mount the folder: everybody may read and enter it, only its owner may write.
		err := errors.Join(os.MkdirAll(folder, mode), os.Chmod(folder, mode))
		var f *os.File
		if err == nil {
			f, err = lock(folder, unix.LOCK_SH)
		}
		if !errors.Is(err, fs.ErrNotExist) { // else another process has removed it just now
			return f, err
		}
	}
}

// lock opens a folder and locks it. The error is fs.ErrNotExist if it is not there, or not any more.
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

// good reports whether path is a regular, executable file with exactly these bytes, which only
// its owner may write.
func good(path string, want []byte) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != mode || info.Size() != int64(len(want)) {
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
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
