package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
	"cellhold/internal/sandbox/embedded/process"
	"cellhold/internal/sandbox/sandboxtest"
)

type child struct {
	pid   int
	state string
	stat  string
}

func childrenOf(parent int) []child {
	var found []child
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
			found = append(found, child{pid: pid, state: f[0], stat: string(b)})
		}
	}
	return found
}

func TestTheDoctorStartsASandbox(t *testing.T) {
	o := options(t)
	before := leftovers(t)
	findings := embedded.Check(t.Context(), o)
	boots, saves := false, false
	for _, f := range findings {
		t.Logf("%v %s: %s; %s", f.OK, f.Name, f.Detail, f.Fix)
		if !f.OK && f.Fix == "" {
			t.Errorf("%s: the finding has no fix", f.Name)
		}
		boots = boots || f.Name == "a sandbox starts" && f.OK
		saves = saves || f.Name == "a sandbox can be saved" && f.OK
	}
	if !boots || !saves {
		t.Errorf("a sandbox starts: %v, can be saved: %v; want true and true", boots, saves)
	}
	if diff := cmp.Diff(before, leftovers(t)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

func TestTheDoctorReportsProblems(t *testing.T) {
	o := options(t)
	o.Guest = filepath.Join(ground, "none")
	o.Reserve = 1 << 60 // more than any disk has
	for _, f := range embedded.Check(t.Context(), o) {
		if f.Name == "a sandbox starts" && (f.OK || !strings.Contains(f.Detail, "guest binary")) {
			t.Errorf("got the finding %+v", f)
		}
		if (f.Name == "a sandbox can be saved" || f.Name == "space for snapshots") && (f.OK || f.Fix == "") {
			t.Errorf("got the finding %+v", f)
		}
	}
}

// opened has builds and an open file. The descriptor's path of the file is valid until Close.
type opened struct {
	builds
	f *os.File
}

func (o *opened) Close() error { return o.f.Close() }

func TestTheDoctorDoesNotBlameUserNamespacesForAnotherProblem(t *testing.T) {
	o := options(t)
	with := func(o embedded.Options, runner string) embedded.Options {
		t.Helper()
		f, err := os.Open(runner)
		if err != nil {
			t.Fatal(err)
		}
		o.Runner, o.Runners = fmt.Sprint(process.Descriptors, f.Fd()), &opened{f: f}
		return o
	}
	find := func(name string, o embedded.Options) embedded.Finding {
		t.Helper()
		all := embedded.Check(t.Context(), o)
		i := slices.IndexFunc(all, func(f embedded.Finding) bool { return f.Name == name })
		if i < 0 {
			t.Fatalf("no finding %q in %+v", name, all)
		}
		return all[i]
	}
	const name = "user namespaces"
	if f := find(name, options(t)); !f.OK {
		t.Skipf("this host has no user namespaces: %+v", f)
	}
	noExec := filepath.Join(t.TempDir(), "runner")
	if err := os.WriteFile(noExec, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if f := find(name, with(o, noExec)); !f.OK || !strings.Contains(f.Detail, "not tried") {
		t.Errorf("got the finding %+v", f)
	}
	if f := find("a sandbox starts", with(o, noExec)); f.OK || !strings.Contains(f.Detail, noExec) {
		t.Errorf("got the finding %+v, want the path %s", f, noExec)
	}
	o.Guest = filepath.Join(ground, "none")
	if f := find(name, with(o, process.Self)); !f.OK || strings.Contains(f.Detail, "not tried") {
		t.Errorf("got the finding %+v", f)
	}
}

func TestUnenforcedLimitsAreReported(t *testing.T) {
	d := open(t)
	defer d.Close()
	if os.Geteuid() == 0 {
		if u := d.Features().Unenforced; len(u) != 0 {
			t.Skipf("root cannot enforce limits here: %q", u)
		}
		return
	}
	if got := len(d.Features().Unenforced); got != 3 {
		t.Errorf("%d limits are reported as not enforced: %q", got, d.Features().Unenforced)
	}
}

func TestALimitThatIsNotEnforcedIsAnError(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to tamper with cgroups")
	}
	d := open(t)
	defer d.Close()
	// gVisor does not set the limits of a cgroup that exists already.
	dir := "/sys/fs/cgroup/memory/cellhold/" + name("tampered")
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		dir = "/sys/fs/cgroup/cellhold/" + name("tampered")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("needs cgroups: %v", err)
	}
	box, err := d.Create(t.Context(), spec(name("tampered")))
	if err == nil {
		_ = box.Destroy(t.Context())
		t.Fatal("an unlimited sandbox was created")
	}
	if !strings.Contains(err.Error(), "a limit is not enforced") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the cgroup is still there")
	}
}

func TestAnImageCannotMisleadTheMounts(t *testing.T) {
	d := open(t)
	defer d.Close()
	for why, spoil := range map[string]func(root string) error{
		"a missing mount point": func(root string) error {
			return os.RemoveAll(filepath.Join(root, "opt"))
		},
		"a link for a mount point": func(root string) error {
			return errors.Join(os.RemoveAll(filepath.Join(root, "mnt")), os.Symlink("/", filepath.Join(root, "mnt")))
		},
		"a file for a mount point": func(root string) error {
			at := filepath.Join(root, "mnt", "data")
			return errors.Join(os.RemoveAll(at), os.WriteFile(at, nil, 0o644))
		},
	} {
		t.Run(why, func(t *testing.T) {
			root, err := os.MkdirTemp(ground, "root-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(root)
			if err := errors.Join(os.Chmod(root, 0o755), sandboxtest.TinyRootfs(root), spoil(root)); err != nil {
				t.Fatal(err)
			}
			before, _ := filepath.Glob(filepath.Join(root, "*"))
			s := spec(name("spoilt"))
			s.Rootfs = root
			box, err := d.Create(t.Context(), s)
			if err == nil {
				_ = box.Destroy(t.Context())
				t.Fatal("the root file system was accepted")
			}
			after, _ := filepath.Glob(filepath.Join(root, "*"))
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the image has changed:\n%s", diff)
			}
		})
	}
}

func TestAnAgentThatDoesNotAnswerIsReported(t *testing.T) {
	for content, want := range map[string]string{
		"not a program": "exec format error",
		"\x7fELF":       "guest",
	} {
		o := options(t)
		bin, err := os.MkdirTemp(ground, "bin-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(bin)
		o.Guest = filepath.Join(bin, "guest")
		if err := errors.Join(os.Chmod(bin, 0o755), os.WriteFile(o.Guest, []byte(content), 0o755)); err != nil {
			t.Fatal(err)
		}
		mustReport(t, o, want)
	}
}

func mustReport(t *testing.T, o embedded.Options, want string) {
	t.Helper()
	d, err := embedded.New(o)
	if err != nil {
		t.Skipf("this host cannot run gVisor sandboxes: %v", err)
	}
	defer d.Close()
	before := leftovers(t)
	_, err = d.Create(t.Context(), spec(name("mute")))
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got the error %v, want one with %q", err, want)
	}
	if diff := cmp.Diff(before, leftovers(t)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

func TestAnAgentThatEndsAtOnceIsReported(t *testing.T) {
	o := options(t)
	bin, err := os.MkdirTemp(ground, "bin-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(bin)
	o.Guest = filepath.Join(bin, "guest")
	source := filepath.Join(bin, "main.go")
	program := "package main\nfunc main() { panic(\"no agent today\") }\n"
	if err := errors.Join(os.Chmod(bin, 0o755), os.WriteFile(source, []byte(program), 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", o.Guest, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	mustReport(t, o, "no agent today")
}

func TestWithoutNamespacesThereIsNoDriver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to forbid user namespaces")
	}
	options(t)
	cmd := exec.Command("/proc/self/exe", "-role=no-namespaces", "-ground="+ground, "-home="+home(t))
	cmd.Args[0] = os.Args[0]
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "sandboxes need root or user namespaces: ") {
		t.Errorf("got the output %s", out)
	}
}

// withoutNamespaces forbids user namespaces inside a user namespace, and then opens a driver.
func withoutNamespaces() error {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return err
	}
	d, err := embedded.New(embedded.Options{Dir: filepath.Join(*homeFlag, "run"), Guest: guestPath(), Runner: process.Self})
	if err == nil {
		defer d.Close()
		return errors.New("the driver was opened; want an error")
	}
	fmt.Println(err)
	return nil
}

func TestOptionsAreChecked(t *testing.T) {
	good := options(t)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for why, change := range map[string]func(*embedded.Options){
		"no directory":                     func(o *embedded.Options) { o.Dir = "" },
		"relative directory":               func(o *embedded.Options) { o.Dir = "run" },
		"too long a directory":             func(o *embedded.Options) { o.Dir = "/" + strings.Repeat("x", 100) },
		"no guest":                         func(o *embedded.Options) { o.Guest = "" },
		"a missing guest":                  func(o *embedded.Options) { o.Guest = ground + "/none" },
		"no runner":                        func(o *embedded.Options) { o.Runner = "" },
		"a missing runner":                 func(o *embedded.Options) { o.Runner = ground + "/none" },
		"a runner that cannot be executed": func(o *embedded.Options) { o.Runner = plain },
	} {
		t.Run(why, func(t *testing.T) {
			o := good
			change(&o)
			if d, err := embedded.New(o); err == nil {
				_ = d.Close()
				t.Error("the options were accepted")
			}
		})
	}
}

// TestTheProbeCanSucceed is the control of the isolation tests: the attempts that fail in a sandbox succeed on the host.
func TestTheProbeCanSucceed(t *testing.T) {
	o := options(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root: the attempts of the probe need it")
	}
	for _, try := range [][2]string{
		{"read", "/etc/passwd"},
		{"write", filepath.Join(ground, "written")}, {"fork", "80"}, {"eat", "200"},
	} {
		if a := sandboxtest.OnHost(t, o.Guest, try[0], try[1]); a.Err != "" {
			t.Errorf("%v: %s", try, a.Err)
		}
	}
	ifs := sandboxtest.OnHost(t, o.Guest, "interfaces", "")
	if ifs.Text == "lo" || ifs.Text == "" {
		t.Logf("this host has no network: %q", ifs.Text)
	}
}

func TestACancelledContextCreatesNothing(t *testing.T) {
	d := open(t)
	defer d.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Create(ctx, spec(name("never"))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	infos, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != 0 {
		t.Errorf("List returned %v, want none", infos)
	}
	var _ sandbox.Driver = d
}
