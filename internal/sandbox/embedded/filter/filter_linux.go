// Package filter gives gVisor the seccomp filters of its own processes ready made.
//
// gVisor's module comes without the programs that its own build adds, and makes the filters anew at each
// start of a sandbox, which takes 50 ms of a processor for the sandbox and 4 for its gofer. The programs here
// were made by gVisor's own code from its own rules, and a test compares them with what gVisor makes. One that does not fit, because of another
// version, another processor or another configuration, is not used: gVisor makes the filter then.
package filter

import (
	_ "embed"
	"encoding/json"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	"gvisor.dev/gvisor/runsc/boot/filter"
	gofer "gvisor.dev/gvisor/runsc/fsgofer/filter"
)

// stored is the file of programs.
type stored struct {
	Gvisor string // the version whose rules they are
	Sentry []precompiledseccomp.Program
	Gofer  []precompiledseccomp.Program
}

//go:embed programs.json
var file []byte

// sentryPrograms and goferPrograms are those that gVisor knows, by the configuration that they are for.
var (
	//go:linkname sentryPrograms gvisor.dev/gvisor/runsc/boot/filter.precompiledPrograms
	sentryPrograms map[string]precompiledseccomp.Program
	//go:linkname goferPrograms gvisor.dev/gvisor/runsc/fsgofer/filter.precompiledPrograms
	goferPrograms map[string]precompiledseccomp.Program
)

// Provide makes the programs known to gVisor in this process, if they are that version's.
func Provide(version string) {
	var s stored
	if json.Unmarshal(file, &s) != nil || s.Gvisor != version {
		return
	}
	filter.ListPrecompiled() // fills in its own first, which are none
	gofer.ListPrecompiled()
	for _, p := range s.Sentry {
		sentryPrograms[p.Name] = p
	}
	for _, p := range s.Gofer {
		goferPrograms[p.Name] = p
	}
}
