// Package runsc is gVisor's program. The runner consists of it.
//
// Main runs it in processes that the driver starts. The package replaces gVisor's commands run, checkpoint, restore, pause
// and resume. It sets the filters, the system calls and the number of processors of a sandbox. The driver does not link it.
package runsc

import (
	"cellhold/internal/sandbox/embedded/process"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "unsafe" // for go:linkname

	"cellhold/internal/sandbox/embedded/filter"
	"cellhold/internal/sandbox/embedded/runner"
	"cellhold/internal/sandbox/embedded/syscalls"

	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"
)

// gvisorVersion is gVisor's variable for its own version. A restore compares it with the version in the checkpoint.
// gVisor expects it from the linker. It is set here, so that no build and no test binary can omit it.
//
//go:linkname gvisorVersion gvisor.dev/gvisor/runsc/version.version
var gvisorVersion string

// orphaned reports whether the server of this command has died. Such a command must do nothing: the next server, which
// removes incomplete sandboxes, may have searched for commands before this one had its name. gVisor would then create the
// directory of the removed sandbox again.
func orphaned(arg0 string) bool {
	server, is := strings.CutPrefix(arg0, runner.CommandPrefix)
	return is && server != strconv.Itoa(os.Getppid())
}

// Main runs a sandbox process and does not return, if this process was started for that. Otherwise it returns at once. It
// must be the first call in main, and in the TestMain of tests whose binary is its own runner.
func Main() {
	if !process.IsSandbox(os.Args[0]) {
		return
	}
	if orphaned(os.Args[0]) {
		fmt.Fprintln(os.Stderr, "the server that started this command has died")
		os.Exit(1)
	}
	gvisorVersion = runner.Version
	if slices.Contains(os.Args, "boot") || slices.Contains(os.Args, "gofer") { // the other commands have no filter
		filter.Provide(runner.Version)
	}
	if slices.Contains(os.Args, "boot") {
		var err error
		if os.Args, err = withCores(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, "cannot start the sandbox: the number of processors is unknown:", err)
			os.Exit(1)
		}
	}
	relaxGC()
	if err := provideNeed(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot start the sandbox: a metric cannot be added:", err)
		os.Exit(1)
	}
	if err := syscalls.Narrow(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot start the sandbox: system calls cannot be restricted:", err)
		os.Exit(1)
	}
	// Only the commands that the driver uses: every user who can run this binary can run them.
	cli.Run(nil, map[util.SubCommand]string{
		new(run):        "",
		newCheckpoint(): "",
		new(restore):    "",
		&onSandbox{name: "pause", do: pauseSandbox}:   "",
		&onSandbox{name: "resume", do: resumeSandbox}: "",
		new(sentrycmd.Boot):                           "",
		new(cmd.Gofer):                                "",
		new(sentrycmd.Umount):                         "",
	}, nil)
	os.Exit(1)
}

// A sandbox process creates most of its garbage at its start. A restore reads the whole state of gVisor's kernel.
const (
	// startGCPercent makes collections rarer: with it a restore takes a seventh less time than with Go's default of 100.
	startGCPercent = 400
	// startPhase is longer than a restore on a busy host.
	startPhase = time.Second
	// gcPercent holds after the start. In an idle session gVisor makes little garbage. In a session that runs cells,
	// gVisor's heap would grow to twice its data with Go's default. After 1,000 small cells a sandbox has 8 MB less
	// than with 100.
	gcPercent = 40
)

// relaxGC makes garbage collections rare during the start of a process. Then it returns unused memory to the host: the
// process ends up smaller than with frequent collections.
func relaxGC() {
	debug.SetGCPercent(startGCPercent)
	time.AfterFunc(startPhase, func() {
		debug.SetGCPercent(gcPercent)
		debug.FreeOSMemory()
	})
}
