package setup

import (
	"fmt"
	"os"
	"path/filepath"
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
// reach the image. Private files in the home have their own mode.
func MakeHome(home string) error {
	if err := os.MkdirAll(home, 0o711); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return nil
}
