// Package builds keeps the builds of a program as files. This binary contains one build; the files of others are kept
// while sessions or snapshots need them. The package never returns a file whose bytes do not have the expected digest.
//
// Each build has a folder of its own, named by its digest. A process that uses a build holds a lock on its folder, so
// that no other process removes it.
package builds

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// mode is the mode of builds and their folders. Sandboxes run them with another uid.
const mode = 0o755

// Program is the build that this binary contains.
type Program struct {
	Name    string    // of the file
	Digest  string    // SHA-256 in hexadecimal digits
	Content io.Reader // read only if the file is missing or has changed
}

// Builds are the builds of one program in a folder: the one of this binary, which is held until Close, and others.
type Builds struct {
	dir, name, digest string
	held              *os.File
}

// Open writes a program to <dir>/<digest>/<name>, unless it is there. Several processes can do this at the same time.
func Open(dir string, p Program) (*Builds, error) {
	if !digestPattern.MatchString(p.Digest) {
		return nil, fmt.Errorf("%q is not a SHA-256 digest", p.Digest)
	}
	b := &Builds{dir: dir, name: p.Name, digest: p.Digest}
	var err error
	if b.held, err = hold(filepath.Dir(b.Path())); err != nil {
		return nil, err
	}
	if verify(b.Path(), p.Digest) != nil {
		if err := replace(b.Path(), p); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	return b, nil
}

// Path returns the path of this binary's build.
func (b *Builds) Path() string { return b.path(b.digest) }

// Digest returns the SHA-256 digest of this binary's build in hexadecimal digits.
func (b *Builds) Digest() string { return b.digest }

// Close releases the build of this binary. It can be called twice.
func (b *Builds) Close() error {
	if err := b.held.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func (b *Builds) path(digest string) string { return filepath.Join(b.dir, folderOf(digest), b.name) }

// folderOf returns the name of a digest's folder: half of the digest, because paths must be short.
func folderOf(digest string) string { return digest[:32] }

// A SHA-256 digest in hexadecimal digits, and the name of its folder.
var (
	digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
	folderPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// Find returns the path of the build with a SHA-256 digest. It has compared the bytes.
func (b *Builds) Find(digest string) (string, error) {
	if !digestPattern.MatchString(digest) {
		return "", fmt.Errorf("find a build of %s: %q is not a SHA-256 digest", b.name, digest)
	}
	path := b.path(digest)
	if err := verify(path, digest); err != nil {
		return "", fmt.Errorf("find a build of %s: %w", b.name, err)
	}
	return path, nil
}

// Prune removes the builds that are not in needed and that no process holds.
func (b *Builds) Prune(needed map[string]bool) error {
	keep := map[string]bool{}
	for digest := range needed {
		if digestPattern.MatchString(digest) {
			keep[folderOf(digest)] = true
		}
	}
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return fmt.Errorf("builds of %s: %w", b.name, err)
	}
	var errs []error
	for _, e := range entries {
		if folderPattern.MatchString(e.Name()) && !keep[e.Name()] {
			errs = append(errs, remove(filepath.Join(b.dir, e.Name())))
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

// verify checks that path is a regular, executable file with this digest that only its owner can write.
func verify(path, digest string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode() != mode {
		return fmt.Errorf("the mode of %s is %v; expected %v", path, info.Mode(), fs.FileMode(mode))
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != digest {
		return fmt.Errorf("the bytes of %s have changed", path)
	}
	return nil
}

// replace puts the file in place in one step, so that no sandbox runs half of it. A running sandbox keeps
// the file that it has open.
func replace(path string, p Program) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails, as intended, after the rename
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), p.Content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != p.Digest {
		return fmt.Errorf("the %s in this binary does not have the digest %s; build it again with: make build", p.Name, p.Digest)
	}
	return os.Rename(f.Name(), path)
}
