package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/gomaxprocs"

	"cellhold/internal/sandbox"
)

// coresAnnotation is where a sandbox's configuration says how many processors its programs see.
const coresAnnotation = "cellhold.cores"

// maxConfig bounds what is read of a configuration, which this driver has written.
const maxConfig = 1 << 20

// coresOf is how many processors programs in a sandbox see: as many as they were given, rounded up, and no more than
// the host has. Programs start as many threads as they see processors, and more threads than they were given
// processors only wait for each other.
func coresOf(l sandbox.Limits) int {
	return int(min(max(math.Ceil(l.CPU), 1), float64(runtime.NumCPU())))
}

// withCores brings the arguments of a sandbox process in line with its configuration. gVisor takes the number of
// processors from the control group, which during a start is as wide as the host (startCPU), and never goes below two.
// What gVisor uses for itself stays as it was.
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
	gomaxprocs.Add(max(0, runtime.NumCPU()-n)) // gVisor sets its own number to n, and adds this
	return slices.Insert(slices.Clone(args), boot+1, "--cpu-num", strconv.Itoa(n)), nil
}

// specFD finds the descriptor of the configuration.
func specFD(args []string) (int, error) {
	const flag = "--spec-fd="
	for _, arg := range args {
		if fd, ok := strings.CutPrefix(arg, flag); ok {
			return strconv.Atoi(fd)
		}
	}
	return 0, errors.New("the sandbox process was given no configuration")
}

// configuredCores reads a configuration without moving the place in its file, from which gVisor reads it.
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
	cores, err := strconv.Atoi(spec.Annotations[coresAnnotation])
	if err != nil || cores < 1 {
		return 0, fmt.Errorf("%s is %q, which is not a number of processors", coresAnnotation, spec.Annotations[coresAnnotation])
	}
	return cores, nil
}
