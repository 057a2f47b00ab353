package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// released is the version of a release; the linker sets it.
var released string

// version names this build: the release, or the commit it was built from.
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
type versionCmd struct{}

// Run prints the version of this program and of what it was built with.
func (versionCmd) Run(t *terminal) error {
	_, err := fmt.Fprintf(t.out, "cellhold %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
