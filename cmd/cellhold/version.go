package main

import (
	"cellhold/internal/cli/console"
	"fmt"
	"runtime"
	"runtime/debug"
)

// released is the version of a release; the linker sets it.
var released string

// version returns the release, or the commit from which the program was built.
func version() string {
	if released != "" {
		return released
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	commit, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			commit = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if commit == "" {
		return "development"
	}
	return "development-" + commit + changed
}

// versionCmd prints the version.
type versionCmd struct {
	console.Format `embed:""`
}

// Run prints the version of this program and of Go.
func (c *versionCmd) Run(t *console.Terminal) error {
	out := console.Printer{Format: c.Format, Out: t.Out}
	if c.JSON || c.Quiet {
		return out.Result(struct {
			Version string `json:"version"`
			Go      string `json:"go"`
		}{version(), runtime.Version()}, version())
	}
	_, err := fmt.Fprintf(t.Out, "cellhold %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
