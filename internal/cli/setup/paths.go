package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Resolved returns the path with symbolic links replaced, as far as the path exists. gVisor's file proxy does not
// follow links in the path of the folder that it serves.
func Resolved(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		return real
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(Resolved(dir), filepath.Base(path))
	}
	return path
}

// RunDir is the folder of running sandboxes in a home. Its name is short because gVisor creates Unix sockets there, and
// a socket's path has at most 107 bytes.
const RunDir = "run"

// MakeHome creates the home. Other users can pass through it, because sandboxes run under their own uid and must
// reach the image. Private files in the home have modes that exclude other users.
func MakeHome(home string) error {
	if err := os.MkdirAll(home, 0o711); err != nil {
		return unusable(home, err)
	}
	return nil
}

// PrepareHome creates the home, and checks that this user can write to it.
func PrepareHome(home string) error {
	if err := MakeHome(home); err != nil {
		return err
	}
	if err := unix.Faccessat(unix.AT_FDCWD, home, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return unusable(home, err)
	}
	return nil
}

// HomeError says that this user cannot write to a home.
type HomeError struct {
	Home string
	Err  error // the reason, without a path
}

func (e *HomeError) Error() string { return fmt.Sprintf("%s; %s", e.Detail(), HomeRemedy) }

// Detail returns the error without the remedy.
func (e *HomeError) Detail() string { return fmt.Sprintf("cannot write to %s: %v", e.Home, e.Err) }

func (e *HomeError) Unwrap() error { return e.Err }

func unusable(home string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return &HomeError{home, err}
}

// HomeRemedy says how to get a home that this user can write to.
const HomeRemedy = "use --home with a folder that this user can write to, or run as the owner of the home"
