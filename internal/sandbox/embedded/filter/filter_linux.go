// Package filter provides precompiled seccomp filters for gVisor's own processes.
//
// gVisor's own build adds precompiled filters; its module has none. Without them gVisor compiles the filters at each
// start of a sandbox. That takes 50 ms of CPU for the sandbox and 4 ms for its gofer. The programs here were compiled
// by gVisor's code from its rules, and a test compares them with gVisor's output. gVisor does not use a program for
// another version, processor or configuration; it compiles that filter itself.
package filter

import (
	_ "embed"
	"encoding/json"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	"gvisor.dev/gvisor/runsc/boot/filter"
	gofer "gvisor.dev/gvisor/runsc/fsgofer/filter"
)

// stored is the content of programs.json.
type stored struct {
	Gvisor string // the version of the rules
	Sentry []precompiledseccomp.Program
	Gofer  []precompiledseccomp.Program
}

//go:embed programs.json
var file []byte

// sentryPrograms and goferPrograms are gVisor's tables of precompiled programs, by configuration.
var (
	//go:linkname sentryPrograms gvisor.dev/gvisor/runsc/boot/filter.precompiledPrograms
	sentryPrograms map[string]precompiledseccomp.Program
	//go:linkname goferPrograms gvisor.dev/gvisor/runsc/fsgofer/filter.precompiledPrograms
	goferPrograms map[string]precompiledseccomp.Program
)

// Provide adds the programs to gVisor's tables in this process, if they belong to this version.
func Provide(version string) {
	var s stored
	if json.Unmarshal(file, &s) != nil || s.Gvisor != version {
		return
	}
	filter.ListPrecompiled() // initialises the table, which is empty
	gofer.ListPrecompiled()
	for _, p := range s.Sentry {
		sentryPrograms[p.Name] = p
	}
	for _, p := range s.Gofer {
		goferPrograms[p.Name] = p
	}
}
