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

// defaultHome returns the home if no flag sets it: for root the folder that the file system standard gives to
// services, otherwise the user's state folder.
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

// readPath reads a path and makes it absolute. An empty path stays empty: kong would turn it into the current
// directory, and the server would then show that directory to every session as --data.
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

// resolved returns the path with symbolic links replaced, as far as the path exists. gVisor's file proxy does not
// follow links on the way to the folder that it serves.
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

// size is a number of bytes, written as 512M or 1GiB.
type size int64

// UnmarshalText reads a size.
func (s *size) UnmarshalText(text []byte) error {
	n, err := cellhold.ParseSize(string(text))
	*s = size(n)
	return err
}

// MarshalText writes the size in the form that UnmarshalText reads.
func (s size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the size in the largest unit that divides it.
func (s size) String() string { return cellhold.FormatSize(int64(s)) }

const (
	// runDir is the folder of running sandboxes in a home. Its name is short because gVisor creates Unix sockets
	// there, and a socket's path has at most 107 bytes.
	runDir = "run"
	// tokenFile is the file of tokens in a home.
	tokenFile = "token"
)

// makeHome creates the home. Other users can pass through it, because sandboxes run under their own uid and must
// reach the image. Private files in the home have their own mode.
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

// rounded writes the size with one decimal in a fitting unit.
func (s size) rounded() string {
	for _, u := range units {
		if int64(s) >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(s)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(s))
}

// printable returns untrusted text as one harmless line for a table.
func printable(text string) string {
	var out strings.Builder
	(&screen{w: &out, mono: true}).WriteString(strings.Join(strings.Fields(text), " "))
	return out.String()
}
