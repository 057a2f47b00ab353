package hostile

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
	"cellhold/test/servertest"
)

var update = flag.Bool("update", false, "write the golden files again")

// TestAttacks runs each attack in a session of its own, at the same time as the others.
func TestAttacks(t *testing.T) {
	x := newTarget(t)
	for name, attack := range map[string]func(*testing.T, *target, cellhold.SessionID){
		"A4":  hooks,
		"A5":  systemCalls,
		"A6":  kernelFiles,
		"A7":  mounts,
		"A10": families,
		"A12": cgroups,
		"A13": terminals,
		"A14": controlSockets,
		"A16": neighbours,
		"A17": remains,
		"A20": fingerprint,
		"A34": sharedMemory,
		"A35": exhaustion,
		"A37": clocks,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attack(t, x, x.NewSession(t, client.CreateSession{Limits: cellhold.Limits{Processes: 128}}))
			x.unharmed(t)
		})
	}
}

// hooks: a program that starts runs the hooks of its user only after it has lost its rights.
func hooks(t *testing.T, x *target, id cellhold.SessionID) {
	refused(t, x.attack(t, id, "hooks"), "user site", "user sitecustomize", "pth", "ipython", "config", "stdlib")
	if _, err := x.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	x.MustRun(t, id, "1")
	if _, err := x.RunCommand(t.Context(), id, client.Run{Line: "python3 -c 'import colorsys'"}); err != nil {
		t.Fatal(err)
	}
	places := map[string]bool{}
	for line := range strings.Lines(x.MustRun(t, id, "print(open('/workspace/hooks.log').read())")) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		var h struct {
			Place, Caps, NNP string
			UIDs, Groups     []int
		}
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		places[h.Place] = true
		if !slices.Equal(h.UIDs, []int{1000}) || len(h.Groups) != 0 || h.Caps != "" || h.NNP != "1" {
			t.Errorf("a hook ran with more rights than user code: %s", line)
		}
	}
	for _, place := range []string{"usercustomize", "shadow"} {
		if !places[place] {
			t.Errorf("the hook %s did not run: the test shows nothing; got %v", place, slices.Sorted(maps.Keys(places)))
		}
	}
}

// neverWork are the numbers of system calls on amd64 that no sandbox has with any arguments.
var neverWork = map[int]string{
	101: "ptrace", 103: "syslog", 134: "uselib", 155: "pivot_root", 159: "adjtimex", 161: "chroot", 163: "acct", 164: "settimeofday", 165: "mount", 166: "umount2",
	167: "swapon", 168: "swapoff", 169: "reboot", 170: "sethostname", 171: "setdomainname", 172: "iopl", 173: "ioperm", 175: "init_module", 176: "delete_module",
	179: "quotactl", 180: "nfsservctl", 206: "io_setup of the host", 227: "clock_settime", 246: "kexec_load", 248: "add_key", 249: "request_key", 250: "keyctl",
	298: "perf_event_open", 303: "name_to_handle_at", 304: "open_by_handle_at", 308: "setns", 310: "process_vm_readv of others", 312: "kcmp", 313: "finit_module",
	320: "kexec_file_load", 321: "bpf", 323: "userfaultfd", 425: "io_uring_setup", 426: "io_uring_enter", 427: "io_uring_register", 428: "open_tree", 429: "move_mount",
	430: "fsopen", 431: "fsconfig", 432: "fsmount", 433: "fspick", 438: "pidfd_getfd", 442: "mount_setattr", 443: "quotactl_fd",
}

// systemCalls: each number gives the result of the golden file. A refused call has an error, and no signal.
func systemCalls(t *testing.T, x *target, id cellhold.SessionID) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the numbers are those of amd64")
	}
	all, c := x.command(t, id, "syscalls")
	if all == nil {
		t.Fatalf("the command ended with %s: %s", c.Status, c.Stderr.Text)
	}
	var lines strings.Builder
	for n := range 470 {
		fmt.Fprintf(&lines, "%d %s\n", n, all[fmt.Sprint(n)])
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(name, "x32") || strings.HasPrefix(name, "int") {
			fmt.Fprintf(&lines, "%s: %s\n", name, all[name])
			if all[name] == "works" {
				t.Errorf("%s works, want no second table of system calls", name)
			}
		}
	}
	const golden = "testdata/syscalls_amd64.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for n, name := range neverWork {
		if got := all[fmt.Sprint(n)]; got == "works" || got == "ends" {
			t.Errorf("%s (%d): %s, want an error", name, n, got)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, expected := strings.Split(lines.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(expected)) {
		if i >= len(got) || i >= len(expected) || got[i] != expected[i] {
			t.Errorf("line %d: got %q, want %q; if gVisor changed, look at each difference and run the test with -update", i+1, at(got, i), at(expected, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

func kernelFiles(t *testing.T, x *target, id cellhold.SessionID) {
	// gVisor keeps this value and does nothing with it. TestUserCodeDiesBeforeTheAgentInARestoredSandboxToo reads the host's.
	refused(t, x.attack(t, id, "kernel_files"), "write /proc/self/oom_score_adj")
}

func mounts(t *testing.T, x *target, id cellhold.SessionID) {
	refused(t, x.attack(t, id, "mounts"))
}

// families: only sockets of Unix, of the loopback device, and of the table of its addresses can be created.
func families(t *testing.T, x *target, id cellhold.SessionID) {
	all := x.attack(t, id, "families")
	// 2/2/1 sends pings, to the loopback device only. 16 is netlink: the table of devices, and a stream of events that stays empty.
	const want = "1/1/0 1/1/1 1/2/0 1/2/1 1/3/0 1/3/1 1/5/0 1/5/1 pair 1 2/1/0 2/2/0 2/2/1 10/1/0 10/2/0 16/2/0 16/2/15 16/3/0 16/3/15"
	if all["open"] != want {
		t.Errorf("sockets that code can create: got %s, want %s", all["open"], want)
	}
}

func cgroups(t *testing.T, x *target, id cellhold.SessionID) {
	refused(t, x.attack(t, id, "cgroup"))
}

func terminals(t *testing.T, x *target, id cellhold.SessionID) {
	refused(t, x.attack(t, id, "terminal"))
}

// controlSockets: no socket of the host can be reached, by path, by abstract name or by port.
func controlSockets(t *testing.T, x *target, id cellhold.SessionID) {
	all := x.attack(t, id, "sockets", "CANARY", x.name, "PORT", x.port)
	if strings.Contains(all["abstract names"], x.name) {
		t.Errorf("the abstract names in the sandbox are %s, want none of the host", all["abstract names"])
	}
	refused(t, all)
}

func neighbours(t *testing.T, x *target, id cellhold.SessionID) {
	refused(t, x.attack(t, id, "neighbours"))
}

// remains: a session finds nothing of an earlier one.
func remains(t *testing.T, x *target, id cellhold.SessionID) {
	const leave = `
import os
for d in ("/tmp", "/workspace", "/home/user", "/dev/shm", "/var/tmp"):
    open(d + "/remains-7c31", "w").write("remains-7c31" * 1000)
remains = b"remains-7c31" * 100000`
	x.MustRun(t, id, leave)
	if err := x.DeleteSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	next := x.NewSession(t, client.CreateSession{})
	got := x.MustRun(t, next, `
import os
found = [os.path.join(top, n) for top, dirs, names in os.walk("/") if not top.startswith(("/proc", "/sys")) for n in names if n.startswith("remains-")]
space = bytearray(64 << 20)
print(found, any(space))`)
	if strings.TrimSpace(got) != "[] False" {
		t.Errorf("the next session found %s, want nothing", got)
	}
}

// fingerprint: no value that identifies the host is visible.
func fingerprint(t *testing.T, x *target, id cellhold.SessionID) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	all := x.attack(t, id, "fingerprint")
	for _, path := range []string{"/proc/sys/kernel/random/boot_id", "/etc/machine-id", "/proc/cmdline", "/proc/version", "/proc/sys/kernel/osrelease",
		"/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/board_serial", "/sys/class/dmi/id/product_name", "/proc/net/route", "/proc/modules", "/proc/diskstats"} {
		if host := kernelOf(path); host != "" && all[path] == host {
			t.Errorf("%s has the host's value", path)
		}
	}
	if all["hostname"] == name && name != "" {
		t.Errorf("the host's name is visible")
	}
	if strings.Contains(all["/proc/mounts"], x.Home) {
		t.Errorf("a mount shows the host's folder: %s", all["/proc/mounts"])
	}
	for path, value := range all {
		if strings.HasSuffix(path, "/address") && !strings.Contains(path, "/lo/") {
			t.Errorf("%s: %s, want only a loopback device", path, value)
		}
	}
}

// sharedMemory: the session that fills its memory gets an error, or ends by its own limit.
func sharedMemory(t *testing.T, x *target, id cellhold.SessionID) {
	c := x.RunCell(t, id, program(t, "shared_memory"))
	if c.Status == cellhold.StatusOOM {
		return
	}
	if c.Status != cellhold.StatusOK {
		t.Fatalf("the cell ended with %s (%s), want ok or oom", c.Status, c.Cause)
	}
	refused(t, results(t, servertest.Text(c)))
}

// exhaustion: each limited thing ends with an error, or ends its own program: by the memory of the session, or because
// Python cannot continue. Then the session works.
func exhaustion(t *testing.T, x *target, id cellhold.SessionID) {
	x.MustRun(t, id, "1")
	for _, thing := range []string{"descriptors", "sockets", "epoll", "terminals", "inotify", "threads", "processes"} {
		all, c := x.command(t, id, "exhaust", thing)
		switch result := all[thing]; {
		case all == nil && (c.Status == cellhold.CommandOOM || c.Status == cellhold.CommandSignal):
			t.Logf("%s: the program ended with %s", thing, c.Status)
		case result == "" || result == "works" || strings.HasPrefix(result, "no end"):
			t.Errorf("%s: %s (%s: %s), want a limit", thing, result, c.Status, c.Stderr.Text)
		}
	}
	if info, err := x.Session(t.Context(), id); err != nil || info.Kernels[0].State == cellhold.KernelDead {
		if _, err := x.Restart(t.Context(), id, ""); err != nil {
			t.Fatal(err)
		}
	}
	if got := x.MustRun(t, id, "print(6 * 7)"); strings.TrimSpace(got) != "42" {
		t.Errorf("the kernel then prints %q, want 42", got)
	}
}

func clocks(t *testing.T, x *target, id cellhold.SessionID) {
	// gVisor keeps the priority and does nothing with it.
	refused(t, x.attack(t, id, "clock"), "a higher priority")
}
