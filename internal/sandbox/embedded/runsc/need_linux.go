package runsc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"

	"gvisor.dev/gvisor/pkg/metric"
	"gvisor.dev/gvisor/pkg/sentry/control"
	"gvisor.dev/gvisor/runsc/container"

	"cellhold/internal/sandbox/embedded/runner"
)

// Before gVisor saves its kernel, it builds a copy of all objects of the kernel in its own memory. In the copy, each byte
// of a buffer takes 16 bytes. Full pipes and sockets of 100 MB so need 1.6 GB, and the host would end the sandbox. So
// a save that could need more than the free memory is refused before it begins.
const (
	dataFactor    = 16 // for bytes of memory without pointers, as in buffers
	pointerFactor = 5  // for bytes of other memory; saves of many files and maps needed 3 to 5 times as much
	garbage       = 1 + gcPercent/100.0
	// maxFactor is for a heap of unknown content.
	maxFactor = dataFactor * garbage
)

// needMetric is a metric of gVisor that this package adds: the memory that a save of the sandbox can need.
const needMetric = "/cellhold/need"

// provideNeed adds needMetric to the sandbox of this process. Only the command checkpoint reads metrics.
func provideNeed() error {
	m := metric.Uint64Metadata{Description: "Memory in bytes that a save can need."}
	return metric.RegisterCustomUint64Metric(needMetric, m, func(...*metric.FieldValue) uint64 { return measureNeed() })
}

// measureNeed returns the memory that a save can need, in addition to the memory after a garbage collection.
func measureNeed() uint64 {
	debug.FreeOSMemory()
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/heap:bytes"}}
	metrics.Read(samples)
	live, pointers := samples[0].Value.Uint64(), samples[1].Value.Uint64()
	pointers = min(pointers, live)
	return uint64(garbage * float64(dataFactor*(live-pointers)+pointerFactor*pointers))
}

// checkRoom returns an error if a save of the paused sandbox s could need more memory than its limit leaves free. dir is
// its directory of the memory controller.
func checkRoom(s *container.Container, dir string, limit int64) error {
	used, err := usedMemory(dir)
	if err != nil {
		return err
	}
	if private, err := privateMemory(s.Sandbox.Pid.Load()); err == nil && int64(maxFactor*float64(private)) <= limit-used {
		return nil
	}
	data, err := s.Sandbox.ExportMetrics(control.MetricsExportOpts{OnlyMetrics: "^cellhold_need$"})
	if err != nil {
		return fmt.Errorf("measure the memory that a save needs: %w", err)
	}
	if len(data.Data) != 1 || data.Data[0].Number == nil {
		return nil // an earlier version made this sandbox
	}
	if used, err = usedMemory(dir); err != nil {
		return err
	}
	if need := data.Data[0].Number.Int; need > limit-used {
		return &runner.NeedError{Need: need, Free: max(0, limit-used)}
	}
	return nil
}

// privateMemory returns the memory of a process in bytes, without that of programs in the sandbox.
func privateMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	kib, err := field(text, "RssAnon:")
	if err != nil {
		return 0, err
	}
	swapped, err := field(text, "VmSwap:")
	return (kib + swapped) << 10, err
}

// usedMemory returns the memory of a sandbox in bytes, without pages of files that the kernel can drop. It returns 0 if
// the limit is not enforced: the sandbox can then use more than the limit, and only the save itself must stay below it.
func usedMemory(dir string) (int64, error) {
	if dir == "" {
		return 0, nil
	}
	usage := "memory.current"
	if _, err := os.Stat(filepath.Join(dir, usage)); err != nil {
		usage = "memory.usage_in_bytes" // version 1
	}
	text, err := os.ReadFile(filepath.Join(dir, usage))
	if err != nil {
		return 0, err
	}
	used, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, err
	}
	if text, err = os.ReadFile(filepath.Join(dir, "memory.stat")); err != nil {
		return 0, err
	}
	active, err := field(text, "active_file")
	inactive, ierr := field(text, "inactive_file")
	return used - active - inactive, errors.Join(err, ierr)
}

// field returns the number after a name at the beginning of a line.
func field(text []byte, name string) (int64, error) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == name {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s is missing", name)
}
