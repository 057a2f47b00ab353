package embedded

import (
	"cellhold/internal/sandbox/embedded/cgroup"
	"cellhold/internal/sandbox/embedded/runner"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"cellhold/internal/sandbox"
)

// Paths in the guest. The image contains these directories; see checkRootfs.
const (
	guestBinDir = "/opt/cellhold/bin"
	guestData   = "/mnt/data"
	guestOutput = "/mnt/data/output"
)

const (
	// runSize bounds /run, which contains the agent's sockets and spools.
	runSize = 16 << 20
	// openFiles is enough for any analysis, and prevents one process from filling the sentry with descriptors.
	openFiles = 4096
)

// agentCaps are the capabilities that the agent needs to start kernels under another uid, to end them, and to give them
// their directories. They exist inside gVisor only: no process has them for files of the host.
var agentCaps = []string{
	"CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER",
	"CAP_SETPCAP", // to empty the bounding set of kernels
}

// bundle writes the OCI configuration of s.
func (d *Driver) bundle(p paths, s sandbox.Spec, a agent) error {
	if err := os.Mkdir(p.bundle, 0o700); err != nil {
		return err
	}
	data, err := json.MarshalIndent(d.ociSpec(s, a), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.bundle, "config.json"), data, 0o600)
}

// ociSpec returns the OCI configuration of s. It omits empty lists: a saved configuration drops them, and a restore would
// see a difference.
func (d *Driver) ociSpec(s sandbox.Spec, a agent) *specs.Spec {
	spec := &specs.Spec{
		Version:  specs.Version,
		Hostname: hostname(s.ID),
		Root:     &specs.Root{Path: s.Rootfs}, // writes go to the overlay, see gvisorFlags
		Process: &specs.Process{
			Args: []string{filepath.Join(guestBinDir, filepath.Base(a.path))},
			Cwd:  "/",
			Env: []string{
				"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				"LANG=C.UTF-8",
			},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: agentCaps, Effective: agentCaps, Permitted: agentCaps,
			},
			NoNewPrivileges: true,
			Rlimits: []specs.POSIXRlimit{
				rlimit("RLIMIT_NPROC", s.Limits.Processes),
				rlimit("RLIMIT_NOFILE", openFiles),
				rlimit("RLIMIT_CORE", 0),
			},
		},
		Mounts:      mounts(s, a),
		Annotations: map[string]string{runner.CoresAnnotation: strconv.Itoa(cores(s.Limits))},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
				{Type: specs.NetworkNamespace},
			},
		},
	}
	if d.privileged {
		d.privilegedSpec(spec.Linux)
	}
	if d.cgroups != nil {
		spec.Linux.CgroupsPath = cgroup.Path(s.ID)
		spec.Linux.Resources = d.resources(s.Limits)
	}
	return spec
}

// cores returns the number of processors that programs in a sandbox see: the CPU limit, rounded up, and at most those
// of the host. Programs start a thread for each processor that they see. More threads than the limit allows would only
// wait for each other.
func cores(l sandbox.Limits) int {
	return int(min(max(math.Ceil(l.CPU), 1), float64(runtime.NumCPU())))
}

// hostname returns a host name that differs for every sandbox, so that copies of a snapshot can be told apart inside.
// Sandboxes that follow each other in one session have the same name: the end of their ids is a counter. The name hides
// the id from the guest.
func hostname(id sandbox.ID) string {
	of := string(id)
	if i := strings.LastIndexByte(of, '-'); i > 0 {
		of = of[:i]
	}
	sum := sha256.Sum256([]byte(of))
	return "cellhold-" + hex.EncodeToString(sum[:6])
}

// privilegedSpec makes the sandbox's processes run under uids that own nothing on the host. An unprivileged server runs
// them as root of a new user namespace instead.
func (d *Driver) privilegedSpec(l *specs.Linux) {
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: d.uidBase, Size: idRange}}
	l.UIDMappings, l.GIDMappings = ids, ids
}

// startCPU is the CPU limit during the start. A start can use all cores, and a limit of one core would delay it by two
// periods of the CPU quota. The processes of a resumed session can also use it for a moment.
func startCPU(l sandbox.Limits) float64 { return max(l.CPU, float64(runtime.NumCPU())) }

func (d *Driver) resources(l sandbox.Limits) *specs.LinuxResources {
	memory, quota, period := l.Memory, cgroup.CPUQuota(startCPU(l)), uint64(cgroup.CPUPeriod)
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &memory},
		CPU:    &specs.LinuxCPU{Quota: &quota, Period: &period},
		Pids:   &specs.LinuxPids{Limit: cgroup.BackstopPids(l.Processes)},
	}
	if d.cgroups.SwapCounter {
		r.Memory.Swap = &memory // memory and swap together: no swap at all
	}
	return r
}

func mounts(s sandbox.Spec, a agent) []specs.Mount {
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "nodev", "noexec", "ro"}},
		tmpfs("/dev/shm", s.Limits.Tmp, "1777"),
		tmpfs("/tmp", s.Limits.Tmp, "1777"),
		tmpfs("/run", runSize, "0755"),
		bind(filepath.Dir(a.path), guestBinDir),
	}
	if s.Data != "" {
		mounts = append(mounts, bind(s.Data, guestData))
	}
	return append(mounts, tmpfs(guestOutput, s.Limits.Output, "0755"))
}

func tmpfs(at string, size int64, mode string) specs.Mount {
	return specs.Mount{Destination: at, Type: "tmpfs", Source: "tmpfs", Options: []string{
		"nosuid", "nodev", "mode=" + mode, fmt.Sprintf("size=%d", size),
	}}
}

func bind(from, at string) specs.Mount {
	return specs.Mount{Destination: at, Type: "bind", Source: from, Options: []string{
		"bind", "ro", "nosuid", "nodev",
	}}
}

func rlimit(name string, n int) specs.POSIXRlimit {
	return specs.POSIXRlimit{Type: name, Hard: uint64(n), Soft: uint64(n)}
}

// checkSpec refuses incomplete or dangerous specifications before anything is created.
func (d *Driver) checkSpec(s sandbox.Spec) error {
	if err := checkID(s.ID); err != nil {
		return err
	}
	if err := d.checkSocket(s.ID); err != nil {
		return err
	}
	l := s.Limits
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{"memory", l.Memory > 0},
		{"CPU", l.CPU > 0},
		{"processes", l.Processes > 0},
		{"disk", l.Disk > 0},
		{"tmp", l.Tmp > 0},
		{"output", l.Output > 0},
	} {
		if !c.ok {
			return fmt.Errorf("the limit of %s must be greater than 0", c.name)
		}
	}
	if err := d.checkRootfs(s.Rootfs); err != nil {
		return fmt.Errorf("root file system %s: %w", s.Rootfs, err)
	}
	if s.Data == "" {
		return nil
	}
	if err := d.checkData(s.Data); err != nil {
		return fmt.Errorf("data folder %s: %w", s.Data, err)
	}
	return nil
}

func checkID(id sandbox.ID) error {
	if len(id) == 0 || len(id) > 40 {
		return fmt.Errorf("sandbox id %q must have 1 to 40 characters", id)
	}
	for _, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("sandbox id %q must contain only letters, digits and '-'", id)
		}
	}
	return nil
}

// checkRootfs checks that the mount points of all bind mounts exist as plain directories. gVisor would otherwise create
// them in the shared root file system, and follow links that an image put there.
func (d *Driver) checkRootfs(dir string) error {
	if !filepath.IsAbs(dir) {
		return errors.New("the path is not absolute")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, at := range []string{guestBinDir, guestData} {
		if err := plainDirs(root, strings.TrimPrefix(at, "/")); err != nil {
			return err
		}
	}
	return d.reachable(dir)
}

// plainDirs checks that path and all its parents in root are directories, and not links to directories.
func plainDirs(root *os.Root, path string) error {
	for i := range len(path) + 1 {
		if i < len(path) && path[i] != '/' {
			continue
		}
		info, err := root.Lstat(path[:i])
		if err != nil {
			return fmt.Errorf("mount point /%s: %w", path, err)
		}
		if !info.IsDir() {
			return fmt.Errorf("mount point /%s: /%s is not a directory", path, path[:i])
		}
	}
	return nil
}

// checkData refuses a data folder in which the mount point of /mnt/data/output exists but is not a directory. If it does
// not exist, gVisor creates it inside the sandbox only, because the folder is read-only for the sandbox.
func (d *Driver) checkData(dir string) error {
	if !filepath.IsAbs(dir) {
		return errors.New("the path is not absolute")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := plainDirs(root, "output"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.reachable(dir)
}

// reachable checks that the uid of sandboxes can enter dir and all its parents.
func (d *Driver) reachable(dir string) error {
	if !d.privileged {
		return nil // sandboxes run under our uid
	}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("sandboxes run under uid %d and cannot enter %s; allow it with: chmod o+x %s", d.uidBase, at, at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}
