package main

import (
	"os"
	"path/filepath"
	"reflect"

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
