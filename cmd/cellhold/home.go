package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"cellhold"

	"github.com/alecthomas/kong"
)

// defaultHome is where the state is kept when nobody says: the place that the file system standard
// gives to services, or that of the user.
func defaultHome() string {
	if os.Geteuid() == 0 {
		return "/var/lib/cellhold"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cellhold")
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, ".local", "state", "cellhold")
}

// readPath reads a path and makes it absolute. An empty one, as of a variable that is set to nothing, stays
// empty: kong takes it for the current directory, and would show that to every session as --data.
func readPath(ctx *kong.DecodeContext, target reflect.Value) error {
	var path string
	if err := ctx.Scan.PopValueInto("path", &path); err != nil {
		return err
	}
	if path != "" {
		path = kong.ExpandPath(path)
	}
	target.SetString(path)
	return nil
}

// resolved returns the path without symbolic links, as far as it exists: gVisor's file proxy does not
// follow links on the way to what it serves.
func resolved(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		return real
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(resolved(dir), filepath.Base(path))
	}
	return path
}

// size is a number of bytes that people write as 512M or 1GiB.
type size int64

// UnmarshalText reads a size.
func (s *size) UnmarshalText(text []byte) error {
	n, err := cellhold.ParseSize(string(text))
	*s = size(n)
	return err
}

// MarshalText writes the size as people read it.
func (s size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the size in the largest unit that divides it.
func (s size) String() string { return cellhold.FormatSize(int64(s)) }

const (
	// runDir is the folder of living sandboxes in a home. Its name is short because gVisor puts
	// Unix sockets there, and their paths must fit in 107 bytes.
	runDir = "run"
	// tokenFile is the file with the tokens in a home.
	tokenFile = "token"
)

// makeHome makes the home. Others may pass through it, because sandboxes run under a uid of their
// own and must reach the image; what is private in it has its own mode.
func makeHome(home string) error {
	if err := os.MkdirAll(home, 0o711); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return nil
}

var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// rounded writes the size for people who need no more than its order.
func (s size) rounded() string {
	for _, u := range units {
		if int64(s) >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(s)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(s))
}

// printable is one line of foreign text for a table.
func printable(text string) string {
	var out strings.Builder
	(&screen{w: &out, mono: true}).WriteString(strings.Join(strings.Fields(text), " "))
	return out.String()
}
