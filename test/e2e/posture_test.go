package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// posture has the privileges of a process in a sandbox.
type posture struct {
	UIDs, GIDs []int
	Groups     []int
	Caps       map[string]string // the five capability sets
	NoNewPrivs int
	Files      map[string]string // the type of each descriptor
	Limits     map[string]int
	Calls      map[string]string // the result of each call that creates or enters a namespace
}

// postureProbe is code that prints the posture of its process as JSON.
const postureProbe = `
import ctypes, errno, json, os, resource, stat, warnings
warnings.simplefilter("ignore") # Python warns about forks beside threads
libc = ctypes.CDLL(None, use_errno=True)
def call(f):
    ctypes.set_errno(0)
    return "works" if f() >= 0 else errno.errorcode[ctypes.get_errno()]
def alone(f):
    pid = os.fork()
    if pid == 0:
        try: os.write(out, call(f).encode())
        finally: os._exit(0)
    os.waitpid(pid, 0)
    return os.read(back, 100).decode()
back, out = os.pipe()
status = dict(l.split(":", 1) for l in open("/proc/self/status"))
caps = {k: v.strip() for k, v in status.items() if k.startswith("Cap")}
caps["CapAmb"] = "".join(str(libc.prctl(47, 1, c, 0, 0)) for c in range(38))
kinds = {stat.S_ISCHR: "device", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket", stat.S_ISREG: "file", stat.S_ISDIR: "directory"}
files = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        mode, name = os.fstat(int(fd)).st_mode, os.readlink("/proc/self/fd/" + fd)
    except OSError: continue
    if int(fd) in (back, out): continue
    files[fd] = next((v for k, v in kinds.items() if k(mode)), "other") + " " + name
CLONE = {"amd64": 56, "x86_64": 56, "aarch64": 220}[os.uname().machine]
SETNS = {"x86_64": 308, "aarch64": 268}[os.uname().machine]
calls = {
  "unshare user": alone(lambda: libc.unshare(0x10000000)),
  "unshare mount": alone(lambda: libc.unshare(0x20000)),
  "clone user": alone(lambda: libc.syscall(CLONE, 0x10000000 | 17, 0, 0, 0, 0)),
  "clone3": alone(lambda: libc.syscall(435, 0, 0)),
  "setns": alone(lambda: libc.syscall(SETNS, os.open("/proc/self/ns/user", 0), 0)),
  "mount": alone(lambda: libc.mount(b"x", b"/tmp", b"tmpfs", 0, 0)),
  "umount": alone(lambda: libc.umount2(b"/tmp", 2)),
  "fsopen": alone(lambda: libc.syscall(430, b"tmpfs", 0)),
  "ptrace": alone(lambda: libc.ptrace(0, 0, 0, 0)),
  "unshare files": alone(lambda: libc.unshare(0x400)),
}
print(json.dumps(dict(UIDs=os.getresuid(), GIDs=os.getresgid(), Groups=os.getgroups(), Caps=caps,
    NoNewPrivs=libc.prctl(39, 0, 0, 0, 0), Files=files, Calls=calls,
    Limits={n: resource.getrlimit(getattr(resource, n))[1] for n in ("RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_NPROC")})))
`

// faults returns the properties in which a posture is too weak.
func (p posture) faults() []string {
	var all []string
	wrong := func(what string, is bool) {
		if is {
			all = append(all, what)
		}
	}
	user := []int{1000, 1000, 1000}
	wrong("uid", !slices.Equal(p.UIDs, user))
	wrong("gid", !slices.Equal(p.GIDs, user))
	wrong("groups", len(p.Groups) != 0)
	wrong("sets of capabilities", len(p.Caps) != 5)
	for name, set := range p.Caps {
		wrong(name, strings.Trim(set, "0") != "")
	}
	wrong("no_new_privs", p.NoNewPrivs != 1)
	wrong("core", p.Limits["RLIMIT_CORE"] != 0)
	wrong("files", p.Limits["RLIMIT_NOFILE"] <= 0)
	wrong("processes", p.Limits["RLIMIT_NPROC"] <= 0)
	for name, got := range p.Calls {
		want := "EPERM"
		switch name {
		case "clone3":
			want = "ENOSYS"
		case "unshare files":
			want = "works"
		}
		wrong(name+" "+got, got != want)
	}
	for fd, what := range p.Files {
		kind, name, _ := strings.Cut(what, " ")
		fine := kind == "pipe" || kind == "socket" || kind == "device" && name == "/dev/null" || kind == "device" && strings.HasPrefix(name, "/dev/pts/") ||
			kind == "other" && strings.HasPrefix(name, "anon_inode:") || kind == "file" && strings.HasPrefix(name, "/home/user/")
		wrong("descriptor "+fd+" "+what, !fine && !strings.HasPrefix(name, "/proc/"))
	}
	slices.Sort(all)
	return all
}

func TestCodeInASandboxHasNoPrivileges(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	inside := python[posture](t, s, id, postureProbe)
	if faults := inside.faults(); len(faults) != 0 {
		t.Errorf("a kernel: got the faults %q, want 0\n%+v", faults, inside)
	}
	quoted, err := json.Marshal(postureProbe)
	if err != nil {
		t.Fatal(err)
	}
	child := python[posture](t, s, id, "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', "+string(quoted)+"], capture_output=True, text=True, check=True).stdout)")
	if faults := child.faults(); len(faults) != 0 {
		t.Errorf("a process of a kernel: got the faults %q, want 0\n%+v", faults, child)
	}
	s.must(t, id, "open('/workspace/probe.py', 'w').write("+string(quoted)+")")
	c, err := s.RunCommand(t.Context(), id, client.Run{Line: "python3 /workspace/probe.py"})
	if err != nil {
		t.Fatal(err)
	}
	var command posture
	if err := json.Unmarshal([]byte(c.Stdout.Text), &command); err != nil {
		t.Fatalf("%v in %q, %q", err, c.Stdout.Text, c.Stderr.Text)
	}
	if faults := command.faults(); len(faults) != 0 {
		t.Errorf("a command: got the faults %q, want 0\n%+v", faults, command)
	}
}

// TestAWeakerPostureIsDetected weakens each property in turn. It shows that TestCodeInASandboxHasNoPrivileges can fail.
func TestAWeakerPostureIsDetected(t *testing.T) {
	good := func() posture {
		p := posture{UIDs: []int{1000, 1000, 1000}, GIDs: []int{1000, 1000, 1000}, NoNewPrivs: 1, Caps: map[string]string{},
			Files:  map[string]string{"0": "device /dev/null", "1": "pipe pipe:[3]"},
			Limits: map[string]int{"RLIMIT_NOFILE": 1, "RLIMIT_NPROC": 1}, Calls: map[string]string{"mount": "EPERM", "clone3": "ENOSYS"}}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			p.Caps[set] = "0000000000000000"
		}
		return p
	}
	if faults := good().faults(); len(faults) != 0 {
		t.Fatalf("a correct posture: got the faults %q, want 0", faults)
	}
	for name, weaken := range map[string]func(*posture){
		"root":           func(p *posture) { p.UIDs[1] = 0 },
		"saved group":    func(p *posture) { p.GIDs[2] = 0 },
		"groups":         func(p *posture) { p.Groups = []int{0} },
		"ambient set":    func(p *posture) { p.Caps["CapAmb"] = "00100" },
		"a set unseen":   func(p *posture) { delete(p.Caps, "CapBnd") },
		"new privileges": func(p *posture) { p.NoNewPrivs = 0 },
		"core files":     func(p *posture) { p.Limits["RLIMIT_CORE"] = -1 },
		"no limit":       func(p *posture) { p.Limits["RLIMIT_NPROC"] = -1 },
		"a mount":        func(p *posture) { p.Calls["mount"] = "works" },
		"a signal":       func(p *posture) { p.Calls["clone3"] = "" },
		"a directory":    func(p *posture) { p.Files["5"] = "directory /" },
		"a host's file":  func(p *posture) { p.Files["6"] = "file /run/cellhold/x" },
	} {
		p := good()
		weaken(&p)
		if len(p.faults()) == 0 {
			t.Errorf("%s: got 0 faults, want at least 1", name)
		}
	}
}

// A too strict filter of system calls breaks these packages first.
func TestPackagesThatStartThreadsAndProcessesWork(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{Limits: cellhold.Limits{Processes: 200}})
	for name, code := range map[string]string{
		"threads":         "import concurrent.futures as f\nassert sum(f.ThreadPoolExecutor(8).map(lambda x: x, range(100))) == 4950; print('done')",
		"processes":       "import multiprocessing as m\nwith m.get_context('fork').Pool(2) as p: assert p.map(abs, [-1, 2]) == [1, 2]\nprint('done')",
		"spawn":           "import subprocess\nassert subprocess.run('echo hi | tr h H', shell=True, capture_output=True).stdout == b'Hi\\n'; print('done')",
		"linear algebra":  "import numpy as np\na = np.random.rand(300, 300); assert np.allclose(a @ np.linalg.inv(a), np.eye(300), atol=1e-6); print('done')",
		"forests":         "from sklearn.ensemble import RandomForestClassifier as R\nimport numpy as np\nR(8, n_jobs=2).fit(np.arange(40).reshape(-1, 1), np.arange(40) % 2); print('done')",
		"shared memory":   "from multiprocessing import shared_memory as s\nm = s.SharedMemory(create=True, size=9); m.close(); m.unlink(); print('done')",
		"an event loop":   "import asyncio\nasync def f(): p = await asyncio.create_subprocess_exec('true'); return await p.wait()\nassert await f() == 0; print('done')",
		"a figure's file": "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.savefig('/tmp/a.png'); plt.close(); print('done')",
	} {
		if got := strings.TrimSpace(s.must(t, id, code)); got != "done" {
			t.Errorf("%s: %s, want done", name, got)
		}
	}
}
