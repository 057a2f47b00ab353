//go:build linux && !race

// Under the race detector gVisor allows more calls, and compiles the filter itself.

package filter

import (
	"encoding/json"
	"flag"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gvisor.dev/gvisor/pkg/bpf"
	"gvisor.dev/gvisor/pkg/seccomp"
	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	"gvisor.dev/gvisor/pkg/sentry/platform"
	"gvisor.dev/gvisor/runsc/boot/filter"
	"gvisor.dev/gvisor/runsc/boot/filter/config"
	gofer "gvisor.dev/gvisor/runsc/fsgofer/filter"
	goferconfig "gvisor.dev/gvisor/runsc/fsgofer/filter/config"
)

var update = flag.Bool("update", false, "write the programs again")

// pinned returns the version of gVisor in go.mod.
func pinned(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "gvisor.dev/gvisor ")
	version, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(version)
}

// options returns the options of the driver's sandboxes. Values that differ between sandboxes have an example.
func options(t *testing.T, controller uint32) config.Options {
	t.Helper()
	systrap, err := platform.Lookup("systrap")
	if err != nil {
		t.Fatal(err)
	}
	return config.Options{Platform: systrap.PrecompiledSeccompInfo()[0], HostFilesystem: true, ControllerFD: controller}
}

// ofGofer are the options of the gofer.
var ofGofer = goferconfig.Options{DirectFS: true}

// built returns the filter that gVisor compiles from rules at a start.
func built(t *testing.T, rules, deny seccomp.SyscallRules, o seccomp.ProgramOptions) []bpf.Instruction {
	t.Helper()
	p := seccomp.Program{RuleSets: []seccomp.RuleSet{{Rules: deny}, {Rules: rules, Action: seccomp.Allow}}, Options: o}
	list, _, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// equal compares a stored program with gVisor's output.
func equal(t *testing.T, key string, p precompiledseccomp.Program, ok bool, vars precompiledseccomp.Values, want []bpf.Instruction) {
	t.Helper()
	if !ok {
		t.Fatalf("no program is stored for %s; write it: go test ./internal/sandbox/embedded/filter -update", key)
	}
	got, err := p.RenderInstructions(vars)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the stored program has %d instructions and differs from gVisor's with %d; update it: go test ./internal/sandbox/embedded/filter -update", len(got), len(want))
	}
}

func TestTheStoredProgramsEqualTheProgramsThatGvisorCompiles(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the programs are for amd64; on other processors gVisor compiles its filters at each start")
	}
	if *update {
		write(t)
	}
	Provide(pinned(t))
	for _, controller := range []uint32{5, 12345} {
		o := options(t, controller)
		rules, deny := config.Rules(o)
		p, ok := filter.GetPrecompiled(o.ConfigKey())
		equal(t, o.ConfigKey(), p, ok, o.Vars(), built(t, rules, deny, config.SeccompOptions(o)))
	}
	rules, deny := goferconfig.Rules(ofGofer)
	p, ok := gofer.GetPrecompiled(ofGofer.ConfigKey())
	equal(t, ofGofer.ConfigKey(), p, ok, ofGofer.Vars(), built(t, rules, deny, seccomp.ProgramOptions{}))
}

// write compiles the programs of all configurations, which takes half a minute, and stores ours.
func write(t *testing.T) {
	t.Helper()
	s := stored{Gvisor: pinned(t)}
	all, err := config.PrecompiledPrograms()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.Name == options(t, 0).ConfigKey() {
			ownPID(t, p)
			s.Sentry = append(s.Sentry, p)
		}
	}
	if all, err = goferconfig.PrecompiledPrograms(); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.Name == ofGofer.ConfigKey() {
			s.Gofer = append(s.Gofer, p)
		}
	}
	if file, err = json.Marshal(s); err == nil {
		err = os.WriteFile("programs.json", append(file, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ownPID turns the process id in the program into a variable. A rule of systrap contains the id of the compiling process,
// and gVisor's own search for variables does not know it.
func ownPID(t *testing.T, p precompiledseccomp.Program) {
	t.Helper()
	for i, word := range p.Bytecode32 {
		if word == uint32(os.Getpid()) {
			p.VarOffsets["self_pid_low32bits"] = append(p.VarOffsets["self_pid_low32bits"], i)
		}
	}
	if n := len(p.VarOffsets["self_pid_low32bits"]); n != 1 {
		t.Fatalf("the process id is in %d places, want one; check the rules", n)
	}
}

func TestGvisorGetsTheProgramsOfItsOwnVersionOnly(t *testing.T) {
	clear(sentryPrograms)
	clear(goferPrograms)
	Provide("v0")
	if n := len(filter.ListPrecompiled()) + len(gofer.ListPrecompiled()); n != 0 {
		t.Errorf("another version got %d programs, want none", n)
	}
	Provide(pinned(t))
	if len(filter.ListPrecompiled()) != 1 || len(gofer.ListPrecompiled()) != 1 {
		t.Errorf("the own version got %q and %q", filter.ListPrecompiled(), gofer.ListPrecompiled())
	}
}
