package runsc

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/gomaxprocs"

	"cellhold/internal/sandbox/embedded/runner"
)

// maxConfig bounds the size of a configuration. The driver wrote it.
const maxConfig = 1 << 20

// withCores sets the number of processors in the arguments of a sandbox process to the number in its configuration.
// gVisor derives it from the cgroup, which has the wider limit of a start (startCPU), and never uses less than two. The
// number of processors that gVisor uses for itself does not change.
func withCores(args []string) ([]string, error) {
	boot := slices.Index(args, "boot")
	fd, err := specFD(args)
	if err != nil {
		return nil, err
	}
	n, err := configuredCores(fd)
	if err != nil {
		return nil, fmt.Errorf("read the number of processors: %w", err)
	}
	if at := slices.Index(args, "--cpu-num"); at > boot && at+1 < len(args) {
		args = slices.Delete(slices.Clone(args), at, at+2)
	}
	gomaxprocs.Add(max(0, runtime.NumCPU()-n)) // gVisor uses n processors for itself, plus this number
	return slices.Insert(slices.Clone(args), boot+1, "--cpu-num", strconv.Itoa(n)), nil
}

// specFD returns the descriptor of the configuration.
func specFD(args []string) (int, error) {
	const flag = "--spec-fd="
	for _, arg := range args {
		if fd, ok := strings.CutPrefix(arg, flag); ok {
			return strconv.Atoi(fd)
		}
	}
	return 0, errors.New("the sandbox process has no --spec-fd")
}

// configuredCores reads a configuration with pread: gVisor reads the same descriptor later, from its current offset.
func configuredCores(fd int) (int, error) {
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return 0, err
	}
	if info.Size > maxConfig {
		return 0, fmt.Errorf("the configuration has %d bytes, more than %d", info.Size, maxConfig)
	}
	text := make([]byte, info.Size)
	n, err := unix.Pread(fd, text, 0)
	if err != nil {
		return 0, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(text[:n], &spec); err != nil {
		return 0, err
	}
	cores, err := strconv.Atoi(spec.Annotations[runner.CoresAnnotation])
	if err != nil || cores < 1 {
		return 0, fmt.Errorf("%s is %q; want a number of processors", runner.CoresAnnotation, spec.Annotations[runner.CoresAnnotation])
	}
	return cores, nil
}
