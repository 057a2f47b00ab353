package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "unsafe" // for go:linkname

	"cellhold/internal/sandbox/embedded/filter"
	"cellhold/internal/sandbox/embedded/syscalls"

	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"
)

// self is how a running binary starts itself, whatever happened to its file since.
const self = "/proc/self/exe"

// pinnedGvisor is the version of gVisor in go.mod; a test keeps the two equal. It is not read from
// the build information because test binaries carry none.
const pinnedGvisor = "v0.0.0-20260905035102-160fafc42237"

// gvisorVersion is gVisor's idea of its own version, which a restore compares with the one in
// the checkpoint. gVisor expects it from the linker; setting it here instead means that no
// build, and no test binary, can forget to.
//
//go:linkname gvisorVersion gvisor.dev/gvisor/runsc/version.version
var gvisorVersion string

// commandPrefix begins the name of a command that a server starts. The server's process id follows.
const commandPrefix = "runsc-of-"

// orphaned reports whether this is a command whose server has died. Such a command does nothing: the
// next server, which removes what is half-made, may have looked for commands before this one had its name,
// and gVisor would make the folder of the removed sandbox again.
func orphaned(arg0 string) bool {
	server, is := strings.CutPrefix(arg0, commandPrefix)
	return is && server != strconv.Itoa(os.Getppid())
}

// Main does the work of a sandbox process and does not return, if that is what this process was
// started for; else it returns at once. It must be the first thing that main and TestMain call:
// nothing that a server does at its start may happen in a sandbox process.
func Main() {
	if !startedAsSandbox(os.Args[0]) {
		return
	}
	if orphaned(os.Args[0]) {
		fmt.Fprintln(os.Stderr, "the server that started this command has died")
		os.Exit(1)
	}
	gvisorVersion = pinnedGvisor
	if slices.Contains(os.Args, "boot") || slices.Contains(os.Args, "gofer") { // the others have no filter
		filter.Provide(pinnedGvisor)
	}
	if slices.Contains(os.Args, "boot") {
		var err error
		if os.Args, err = withCores(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, "no sandbox is started whose processors are not known:", err)
			os.Exit(1)
		}
	}
	hurry()
	if err := syscalls.Narrow(); err != nil {
		fmt.Fprintln(os.Stderr, "no sandbox is started that can call more than it should:", err)
		os.Exit(1)
	}
	// Only what the driver uses: this program is reachable by whoever may run our binary.
	cli.Run(nil, map[util.SubCommand]string{
		new(cmd.Run):          "",
		new(cmd.Pause):        "",
		new(cmd.Resume):       "",
		new(checkpoint):       "",
		new(restore):          "",
		new(sentrycmd.Boot):   "",
		new(cmd.Gofer):        "",
		new(sentrycmd.Umount): "",
	}, nil)
	os.Exit(1)
}

// A sandbox process makes most of its garbage while it starts; a restore reads the whole state of a kernel.
const (
	// hurryPercent collects that less often: a restore took a seventh less time with it than with Go's
	// own 100.
	hurryPercent = 400
	// hurryFor is longer than a restore takes on a busy host.
	hurryFor = time.Second
)

// hurry lets a process that starts collect garbage rarely. One that goes on then gives back what it did not
// need to keep, which leaves it smaller than if it had collected from the start.
func hurry() {
	usual := debug.SetGCPercent(hurryPercent)
	time.AfterFunc(hurryFor, func() {
		debug.SetGCPercent(usual)
		debug.FreeOSMemory()
	})
}

// startedAsSandbox tells by the program name, and not by the environment, because the sentry
// starts with an empty one. gVisor uses runsc, runsc-sandbox, runsc-gofer and so on, and for one
// short-lived helper the plain path.
func startedAsSandbox(arg0 string) bool {
	return arg0 == self || strings.HasPrefix(filepath.Base(arg0), "runsc")
}
