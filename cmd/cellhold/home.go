package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

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

var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// UnmarshalText reads a size. K, M, G and T, with or without iB or B, are powers of 1024.
func (s *size) UnmarshalText(text []byte) error {
	number := strings.TrimRight(string(text), "KMGTiBkmgtb ")
	unit := strings.ToUpper(strings.TrimSpace(string(text[len(number):])))
	factor := int64(0)
	if unit == "" || unit == "B" {
		factor = 1
	}
	for _, u := range units {
		if unit == u.name[:1] || unit == u.name[:1]+"B" || unit == strings.ToUpper(u.name) {
			factor = u.bytes
		}
	}
	value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || factor == 0 || !(value >= 0) || value*float64(factor) >= math.MaxInt64 {
		return fmt.Errorf("%q is no size; write it like 512MiB or 2GiB", text)
	}
	*s = size(value * float64(factor))
	return nil
}

// MarshalText writes the size as people read it.
func (s size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the size in the largest unit that divides it.
func (s size) String() string {
	for _, u := range units {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

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
