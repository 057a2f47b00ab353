// Package filter gives gVisor the seccomp filter of its own processes ready made.
//
// gVisor's module comes without the programs that its own build adds, and makes the filter anew at each
// start of a sandbox, which takes 50 ms of a processor. The program here was made by gVisor's own code from
// its own rules, and a test compares it with what gVisor makes. One that does not fit, because of another
// version, another processor or another configuration, is not used: gVisor makes the filter then.
package filter

import (
	_ "embed"
	"encoding/json"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	"gvisor.dev/gvisor/runsc/boot/filter"
)

// stored is the file of programs.
type stored struct {
	Gvisor   string // the version whose rules they are
	Programs []precompiledseccomp.Program
}

//go:embed programs.json
var file []byte

// programs are those that gVisor knows, by the configuration that they are for.
//
//go:linkname programs gvisor.dev/gvisor/runsc/boot/filter.precompiledPrograms
var programs map[string]precompiledseccomp.Program

// Provide makes the programs known to gVisor in this process, if they are that version's.
func Provide(version string) {
	var s stored
	if json.Unmarshal(file, &s) != nil || s.Gvisor != version {
		return
	}
	filter.ListPrecompiled() // fills in its own first, which are none
	for _, p := range s.Programs {
		programs[p.Name] = p
	}
}
