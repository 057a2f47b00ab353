package sandboxtest

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

func (s *suite) isolation(t *testing.T) {
	d := s.open(t)
	if !d.Features().Isolated {
		t.Skip("this driver does not isolate")
	}
	if !s.Probe {
		t.Skip("the harness has no probe in the sandbox")
	}
	t.Run("the network is not reachable", func(t *testing.T) { s.noNetwork(t, d) })
	t.Run("the host is not visible", func(t *testing.T) { s.noHost(t, d) })
	t.Run("the shared root file system does not change", func(t *testing.T) { s.rootfsIsShared(t, d) })
	t.Run("the data folder is readable and read-only", func(t *testing.T) { s.data(t, d) })
	t.Run("the agent is protected", func(t *testing.T) { s.agentIsSafe(t, d) })
	t.Run("privileges cannot be gained", func(t *testing.T) { s.noPrivileges(t, d) })
	t.Run("full file systems return errors", func(t *testing.T) { s.fullPlaces(t, d) })
	t.Run("processes are limited", func(t *testing.T) { s.processes(t, d) })
	t.Run("memory is limited", func(t *testing.T) { s.memory(t, d) })
	t.Run("processors are limited", func(t *testing.T) { s.cpu(t, d) })
	t.Run("the exit status of the agent is reported", func(t *testing.T) {
		box := create(t, d, s.spec())
		_, _ = get(within(t), client(t, box), "/exit?arg=7")
		if exit := end(t, box); exit.Code != 7 || exit.OOM || exit.Destroyed {
			t.Errorf("wait returned %+v; want code 7", exit)
		}
		if i, ok := listed(t, d, box.ID()); !ok || i.Alive {
			t.Errorf("List returned %+v, %v; want a dead sandbox", i, ok)
		}
		if _, err := d.Adopt(within(t), box.ID()); err == nil {
			t.Error("a dead sandbox was adopted")
		}
	})
}

func mustFail(t *testing.T, a Attempt, what string) {
	t.Helper()
	if a.Err == "" {
		t.Errorf("%s: succeeded (%q)", what, a.Text)
	}
}

func mustWork(t *testing.T, a Attempt, what string) {
	t.Helper()
	if a.Err != "" {
		t.Errorf("%s: %s", what, a.Err)
	}
}

func (s *suite) noNetwork(t *testing.T, d sandbox.Driver) {
	box := create(t, d, s.spec())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, addr := range []string{l.Addr().String(), "8.8.8.8:53", "169.254.169.254:80", "[2001:4860:4860::8888]:53"} {
		mustFail(t, attempt(t, box, "dial", addr), "dial "+addr)
	}
	mustFail(t, attempt(t, box, "resolve", "example.com"), "resolve a name")
	if a := attempt(t, box, "interfaces", ""); a.Text != "lo" && a.Text != "" {
		t.Errorf("interfaces: %q", a.Text)
	}
	for name, socket := range map[string][3]int{
		"raw":       {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
		"packet":    {unix.AF_PACKET, unix.SOCK_RAW, 0},
		"alg":       {unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		"vsock":     {unix.AF_VSOCK, unix.SOCK_STREAM, 0},
		"bluetooth": {unix.AF_BLUETOOTH, unix.SOCK_RAW, 0},
		"xdp":       {unix.AF_XDP, unix.SOCK_RAW, 0},
		"rxrpc":     {unix.AF_RXRPC, unix.SOCK_DGRAM, 0},
		"key":       {unix.AF_KEY, unix.SOCK_RAW, 2},
		"tipc":      {unix.AF_TIPC, unix.SOCK_RDM, 0},
		"can":       {unix.AF_CAN, unix.SOCK_RAW, 1},
		"xfrm":      {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM},
	} {
		arg := strconv.Itoa(socket[0]) + " " + strconv.Itoa(socket[1]) + " " + strconv.Itoa(socket[2])
		mustFail(t, attempt(t, box, "socket", arg), name+" socket")
	}
}

func (s *suite) noHost(t *testing.T, d sandbox.Driver) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CELLHOLD_TEST_SECRET", "secret")
	box := create(t, d, s.spec())
	for _, path := range []string{secret, "/etc/shadow", "/etc/hostname", "/root", "/proc/kcore", "/proc/1/environ", "/proc/1/root/etc"} {
		mustFail(t, attempt(t, box, "read", path), "read "+path)
	}
	host, _ := os.Hostname()
	if a := attempt(t, box, "read", "/proc/sys/kernel/hostname"); host != "" && strings.TrimSpace(a.Text) == host {
		t.Errorf("the sandbox can read the host's name: %q", a.Text)
	}
	for _, path := range []string{"/proc/mounts", "/proc/self/mountinfo", "/proc/cmdline", "/proc/self/environ"} {
		a := attempt(t, box, "read", path)
		for _, word := range []string{"secret", s.Spec.Rootfs, filepath.Dir(secret)} {
			if strings.Contains(a.Text, word) {
				t.Errorf("%s reveals the host: %q", path, a.Text)
			}
		}
	}
	if a := ask(t, box, "/self", "env", ""); strings.Contains(a.Text, "CELLHOLD_TEST_SECRET") {
		t.Errorf("the sandbox can read the server's environment: %q", a.Text)
	}
	// The sandbox sees only its own processes: the agent, and the attempt itself.
	if a := attempt(t, box, "list", "/proc"); countNumbers(a.Text) > 2 {
		t.Errorf("the sandbox sees other processes: %q", a.Text)
	}
	if a := ask(t, box, "/self", "list", "/proc/1/fd"); countNumbers(a.Text) > 16 {
		t.Errorf("the agent has unexpected descriptors: %q", a.Text)
	}
}

func countNumbers(text string) int {
	n := 0
	for _, w := range strings.Fields(text) {
		if _, err := strconv.Atoi(w); err == nil {
			n++
		}
	}
	return n
}

func (s *suite) rootfsIsShared(t *testing.T, d sandbox.Driver) {
	box := create(t, d, s.spec())
	before := tree(t, s.Spec.Rootfs)
	// The agent makes these attempts, because the user can write to few directories.
	for _, path := range []string{"/new", "/workspace/new", "/mnt/data/new"} {
		mustWork(t, ask(t, box, "/self", "write", path), "write "+path)
	}
	mustFail(t, ask(t, box, "/self", "write", "/opt/cellhold/bin/new"), "write next to the agent's binary")
	mustFail(t, ask(t, box, "/self", "write", "/sys/new"), "write to /sys")
	// The image's files belong to the host's root, which has no uid in the sandbox. The agent must still be able to give
	// directories to the user.
	mustFail(t, attempt(t, box, "write", "/workspace/mine"), "write to a directory of another user")
	for _, dir := range []string{"/workspace", "/home/user", "/mnt/data/output"} {
		mustWork(t, ask(t, box, "/self", "give", dir), "give "+dir)
		mustWork(t, attempt(t, box, "write", dir+"/mine"), "write to "+dir)
	}
	for _, dir := range []string{"/tmp", "/dev/shm"} {
		mustWork(t, attempt(t, box, "write", dir+"/mine"), "write to "+dir)
	}
	other := create(t, d, s.spec())
	mustFail(t, ask(t, other, "/self", "read", "/workspace/new"), "read another sandbox's file")
	if after := tree(t, s.Spec.Rootfs); after != before {
		t.Errorf("the root file system changed; before:\n%s\nafter:\n%s", before, after)
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		b.WriteString(path + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (s *suite) data(t *testing.T, d sandbox.Driver) {
	dir, err := os.MkdirTemp(filepath.Dir(s.Spec.Rootfs), "data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	spec := s.spec()
	spec.Data = dir
	if err := os.Symlink("/etc", filepath.Join(dir, "output")); err != nil {
		t.Fatal(err)
	}
	t.Run("a link at the mount point of the output is refused", func(t *testing.T) { s.mustRefuse(t, d, spec) })
	if err := os.Remove(filepath.Join(dir, "output")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "table.csv"), []byte("a,b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	box := create(t, d, spec)
	if a := attempt(t, box, "read", "/mnt/data/table.csv"); a.Text != "a,b\n" {
		t.Errorf("read: %+v", a)
	}
	mustFail(t, ask(t, box, "/self", "write", "/mnt/data/table.csv"), "write to the data")
	mustFail(t, ask(t, box, "/self", "write", "/mnt/data/new"), "write next to the data")
	mustWork(t, ask(t, box, "/self", "write", "/mnt/data/output/new"), "write to the output")
	if _, err := os.Lstat(filepath.Join(dir, "output")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mount point of the output was created in the data folder: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "output", "new")); err == nil {
		t.Error("the sandbox wrote to the host's folder")
	}
}

func (s *suite) agentIsSafe(t *testing.T, d sandbox.Driver) {
	box := create(t, d, s.spec())
	mustFail(t, attempt(t, box, "kill", "1"), "kill the agent")
	attempt(t, box, "kill", "-1") // can end the attempt itself
	for _, path := range []string{"/proc/1/mem", "/proc/1/environ", "/proc/1/fd/0", "/proc/1/fd/1"} {
		mustFail(t, attempt(t, box, "read", path), "read "+path)
		mustFail(t, attempt(t, box, "write", path), "write "+path)
	}
	mustBeHealthy(t, box)
}

func (s *suite) noPrivileges(t *testing.T, d sandbox.Driver) {
	box := create(t, d, s.spec())
	if a := attempt(t, box, "ids", ""); a.Text != "1000 1000" {
		t.Errorf("ids: %+v", a)
	}
	status := attempt(t, box, "status", "").Text
	for _, line := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, line) {
			t.Errorf("status lacks %q:\n%s", line, status)
		}
	}
	mustFail(t, attempt(t, box, "become", ""), "become root")
	mustFail(t, attempt(t, box, "mount", "/tmp"), "mount")
	mustFail(t, ask(t, box, "/self", "mount", "/tmp"), "mount as the agent")
	mustFail(t, attempt(t, box, "write", "/proc/sys/kernel/core_pattern"), "set the core pattern")
	mustFail(t, attempt(t, box, "write", "/proc/sysrq-trigger"), "trigger a system request")
}

func (s *suite) fullPlaces(t *testing.T, d sandbox.Driver) {
	spec := s.spec()
	spec.Limits.Disk, spec.Limits.Tmp, spec.Limits.Output = 8<<20, 4<<20, 2<<20
	box := create(t, d, spec)
	for _, c := range []struct {
		dir   string
		limit int64
	}{
		{"/tmp", spec.Limits.Tmp},
		{"/dev/shm", spec.Limits.Tmp},
		{"/mnt/data/output", spec.Limits.Output},
		{"/workspace", spec.Limits.Disk},
	} {
		a := ask(t, box, "/self", "fill", c.dir)
		n, _ := strconv.ParseInt(a.Text, 10, 64)
		if a.Err == "" || n > c.limit || n < c.limit/2 {
			t.Errorf("%s: wrote %d bytes with a limit of %d, error %q", c.dir, n, c.limit, a.Err)
		}
	}
	mustBeHealthy(t, box)
}

func (s *suite) processes(t *testing.T, d sandbox.Driver) {
	spec := s.spec()
	spec.Limits.Processes = 64
	box := create(t, d, spec)
	a := attempt(t, box, "fork", "300")
	if n, _ := strconv.Atoi(a.Text); a.Err == "" || n > 64 {
		t.Errorf("started %d processes with a limit of 64, error %q", n, a.Err)
	}
	mustBeHealthy(t, box)

	// A fork bomb, which ignores errors.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, _ = get(ctx, client(t, box), "/try?what=bomb") // its children continue after the death of the first process
	mustBeHealthy(t, box)
	start := time.Now()
	destroy(t, box)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("destroying the sandbox took %v", took)
	}
}

// needsLimit skips the test if this host cannot enforce a limit.
func (s *suite) needsLimit(t *testing.T, d sandbox.Driver, limit string) {
	t.Helper()
	for _, sentence := range d.Features().Unenforced {
		if strings.Contains(strings.ToLower(sentence), limit) {
			t.Skipf("not enforced here: %s", sentence)
		}
	}
}

func (s *suite) memory(t *testing.T, d sandbox.Driver) {
	s.needsLimit(t, d, "memory limit")
	spec := s.spec()
	spec.Limits.Memory = 160 << 20
	t.Run("a process that uses too much dies and the agent survives", func(t *testing.T) {
		box := create(t, d, spec)
		mustFail(t, attempt(t, box, "eat", "400"), "eat 400 MB of 160")
		mustBeHealthy(t, box)
		u, err := box.Usage(within(t))
		const slack = 1 << 20 // the kernel charges in batches
		if err != nil || u.OOMKills < 1 || u.MemoryPeak > spec.Limits.Memory+slack {
			t.Errorf("usage: %+v, %v", u, err)
		}
	})
	t.Run("an agent that uses too much ends the sandbox with the cause", func(t *testing.T) {
		spec.ID = newID()
		box := create(t, d, spec)
		_, _ = get(within(t), client(t, box), "/self?what=eat&arg=400")
		if exit := end(t, box); !exit.OOM || exit.Destroyed {
			t.Errorf("wait returned %+v; want OOM", exit)
		}
		if u, err := box.Usage(within(t)); err != nil || u.OOMKills < 1 {
			t.Errorf("usage: %+v, %v", u, err)
		}
	})
}

func (s *suite) cpu(t *testing.T, d sandbox.Driver) {
	s.needsLimit(t, d, "cpu limit")
	spec := s.spec()
	spec.Limits.CPU = 0.25
	box := create(t, d, spec)
	before, err := box.Usage(within(t))
	if err != nil {
		t.Fatal(err)
	}
	attempt(t, box, "spin", "") // two threads for one second
	after, err := box.Usage(within(t))
	if err != nil {
		t.Fatal(err)
	}
	// The limit is a quarter of a core for one second; the slow start of the attempt's process can use as much again.
	// Without a limit, the use would be nearly two seconds.
	if used := after.CPU - before.CPU; used.Seconds() > 0.8 {
		t.Errorf("a quarter of a core used %v in about a second", used)
	}
}
