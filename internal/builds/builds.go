// Package builds keeps the builds of a program as files. This binary contains one build. The files of other builds are
// kept while sessions or snapshots need them. The package never returns a file whose bytes do not have the expected
// digest.
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
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mode is the mode of builds and their folders. Sandboxes run them with another uid.
const mode = 0o755

// ErrContent says that the content of a Program does not have its digest.
var ErrContent = errors.New("in this binary does not have the digest")

// Program is the build that this binary contains.
type Program struct {
	Name    string    // of the file
	Digest  string    // SHA-256 in hexadecimal digits
	Content io.Reader // read only if the file is missing or has changed
}

// Builds are the builds of one program in a folder: the one of this binary, which is held until Close, and others.
// Only one goroutine can use them at a time.
type Builds struct {
	dir, name, digest string
	held              *os.File
	files             map[string]*os.File // the open files of Executable, by digest
}

// Open writes a program to <dir>/<digest>/<name>, unless it is there. Several processes can do this at the same time.
func Open(dir string, p Program) (*Builds, error) {
	if !digestPattern.MatchString(p.Digest) {
		return nil, fmt.Errorf("%q is not a SHA-256 digest", p.Digest)
	}
	b := &Builds{dir: dir, name: p.Name, digest: p.Digest, files: map[string]*os.File{}}
	var err error
	if b.held, err = hold(filepath.Dir(b.Path())); err != nil {
		return nil, err
	}
	if _, err := b.Executable(p.Digest); err == nil {
		return b, nil
	}
	err = replace(b.Path(), p)
	if err == nil {
		_, err = b.Executable(p.Digest)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Path returns the path of this binary's build.
func (b *Builds) Path() string { return b.path(b.digest) }

// Digest returns the SHA-256 digest of this binary's build in hexadecimal digits.
func (b *Builds) Digest() string { return b.digest }

// Close releases the build of this binary. It can be called twice.
func (b *Builds) Close() error {
	for digest, f := range b.files {
		f.Close()
		delete(b.files, digest)
	}
	if err := b.held.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func (b *Builds) path(digest string) string { return filepath.Join(b.dir, folderOf(digest), b.name) }

// folderOf returns the name of a digest's folder: half of the digest, because paths must be short.
func folderOf(digest string) string { return digest[:32] }

// The patterns of a SHA-256 digest in hexadecimal digits, and of the name of its folder.
var (
	digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
	folderPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// Find returns the path of the build with a SHA-256 digest. Before that, it compares the bytes with the digest.
func (b *Builds) Find(digest string) (string, error) {
	f, err := b.open(digest)
	if err != nil {
		return "", err
	}
	return b.path(digest), f.Close()
}

// Executable returns a path with which this process can start the build with a SHA-256 digest. The path is valid until
// Close, and only in this process. It leads to the file whose bytes were compared, even if another user can replace
// files in the folder.
func (b *Builds) Executable(digest string) (string, error) {
	f := b.files[digest]
	if f == nil {
		var err error
		if f, err = b.open(digest); err != nil {
			return "", err
		}
		b.files[digest] = f
	}
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), nil
}

// open opens the build with a SHA-256 digest and compares the bytes.
func (b *Builds) open(digest string) (*os.File, error) {
	if !digestPattern.MatchString(digest) {
		return nil, fmt.Errorf("find a build of %s: %q is not a SHA-256 digest", b.name, digest)
	}
	f, err := os.OpenFile(b.path(digest), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("find a build of %s: %w", b.name, err)
	}
	if err := verify(f, digest); err != nil {
		return nil, errors.Join(fmt.Errorf("find a build of %s: %s: %w", b.name, f.Name(), err), f.Close())
	}
	return f, nil
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
		err := os.MkdirAll(folder, mode)
		var f *os.File
		if err == nil {
			f, err = lock(folder, unix.LOCK_SH)
		}
		if err == nil {
			// Sandboxes mount the folder: every user can read and enter it, only its owner can write.
			if err = f.Chmod(mode); err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
		if !errors.Is(err, fs.ErrNotExist) { // otherwise another process has just removed it; try again
			return f, err
		}
	}
}

// lock opens a folder and locks it. The error is fs.ErrNotExist if it does not exist, or was removed during
// the call.
func lock(folder string, how int) (*os.File, error) {
	f, err := os.OpenFile(folder, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := flock(f, how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	locked, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	now, err := os.Lstat(folder)
	if err == nil && !os.SameFile(locked, now) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// patience is the time that a process waits for a lock. A process that removes a folder needs less.
var patience = 10 * time.Second

// flock locks f. It does not wait for ever: every user of the host can lock a folder that it can read.
func flock(f *os.File, how int) error {
	const pause = 10 * time.Millisecond
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK) || how&unix.LOCK_NB != 0:
			return err
		case time.Now().After(end):
			return fmt.Errorf("another process has locked %s for more than %v; find it with: lsof %[1]s", f.Name(), patience)
		}
	}
}

// verify checks that f is a regular, executable file with this digest that only this process's user can write.
func verify(f *os.File, digest string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode() != mode {
		return fmt.Errorf("its mode is %v; expected %v", info.Mode(), fs.FileMode(mode))
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return fmt.Errorf("it belongs to uid %d; expected %d", owner, os.Geteuid())
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != digest {
		return errors.New("its bytes have changed")
	}
	return nil
}

// replace puts the file in place in one step, so that no sandbox runs half of it. A running sandbox keeps
// the file that it has open.
func replace(path string, p Program) error {
	if err := removeAbandoned(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), newPrefix+"*")
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
		return fmt.Errorf("the %s %w %s; build it again with: make build", p.Name, ErrContent, p.Digest)
	}
	return os.Rename(f.Name(), path)
}

// newPrefix begins the names of files that are being written.
const newPrefix = ".new-"

// abandoned is the age from which a file with newPrefix counts as abandoned by its writer.
const abandoned = time.Hour

// removeAbandoned removes the incomplete files of processes that were killed.
func removeAbandoned(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), newPrefix) && time.Since(info.ModTime()) > abandoned {
			errs = append(errs, os.Remove(filepath.Join(folder, e.Name())))
		}
	}
	return errors.Join(errs...)
}
