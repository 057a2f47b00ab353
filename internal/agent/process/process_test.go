package process_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellhold/internal/agent/kernels"
	"cellhold/internal/agent/process"
)

// initHelper is the environment variable that makes this test program act as PID 1; see actAsInit.
const initHelper = "CELLHOLD_TEST_INIT"

// startHelper is the environment variable that makes this test program start processes; see process.StartMany.
const startHelper = "CELLHOLD_TEST_STARTS"

func TestMain(m *testing.M) {
	if os.Getenv(initHelper) != "" {
		if err := actAsInit(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(startHelper) != "" {
		runtime.GOMAXPROCS(1) // a new goroutine then usually runs on the main thread
		if err := process.StartMany(100); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// shells returns a launcher whose kernelspec "sh" runs a script in place of a kernel.
func shells(dir, script string, uid int, init bool) (*process.Launcher, error) {
	spec := filepath.Join(dir, "prefix", "share", "jupyter", "kernels", "sh")
	b, err := json.Marshal(map[string]any{
		"argv": []string{"sh", "-c", script, "{connection_file}"}, "display_name": "sh", "language": "sh",
	})
	if err == nil {
		err = os.MkdirAll(spec, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(spec, "kernel.json"), b, 0o644)
	}
	if err != nil {
		return nil, err
	}
	return process.New(process.Options{
		Run: filepath.Join(dir, "run"), Dir: "/", Home: "/", User: "user",
		Path: filepath.Join(dir, "prefix", "bin") + ":/usr/bin:/bin", UID: uid, GID: uid, Init: init,
		Logger: slog.New(slog.NewTextHandler(os.Stdout, nil)),
	})
}

// launch runs a script as a kernel.
func launch(t *testing.T, script string, uid int) kernels.Process {
	t.Helper()
	l, err := shells(shortDir(t), script, uid, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	p, err := l.Launch(t.Context(), kernels.LaunchSpec{Kernel: "k", Spec: "sh", Env: map[string]string{"GIVEN": "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func ended(t *testing.T, p kernels.Process) kernels.Exit {
	t.Helper()
	select {
	case <-p.Done():
		return p.Exit()
	case <-time.After(patience):
		t.Fatal("the process does not end")
		return kernels.Exit{}
	}
}

func TestTheEndOfAProcessIsReported(t *testing.T) {
	if e := ended(t, launch(t, "echo out; echo err >&2; exit 5", 0)); e.Code != 5 || e.Signal != 0 || e.Output != "out\nerr\n" {
		t.Errorf("the end is %+v, want code 5 and both outputs", e)
	}
	if e := ended(t, launch(t, "kill -SEGV $$", 0)); e.Code != 0 || e.Signal != int(syscall.SIGSEGV) {
		t.Errorf("the end is %+v, want SIGSEGV", e)
	}
	if e := ended(t, launch(t, "yes | head -c 100000; echo end", 0)); len(e.Output) != 8<<10 || !strings.HasSuffix(e.Output, "y\nend\n") {
		t.Errorf("%d bytes of output that end in %q", len(e.Output), e.Output[max(0, len(e.Output)-10):])
	}
}

func TestASignalReachesTheWholeGroup(t *testing.T) {
	p := launch(t, `trap "exit 3" INT; sleep 1000 & echo; wait; wait`, 0)
	for p.Signal(syscall.SIGINT) == nil {
		select {
		case <-p.Done():
			return
		case <-time.After(10 * time.Millisecond): // the script has possibly not set its trap yet
		}
	}
}

func TestAProcessInheritsNoFilesAndAFixedEnvironment(t *testing.T) {
	leaked, err := syscall.Open("/etc/passwd", syscall.O_RDONLY, 0) // inherited by every program that is started
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(leaked)
	t.Setenv("SECRET_OF_OURS", "x")
	e := ended(t, launch(t, `env; echo; ls /proc/$$/fd; echo; readlink /proc/$$/fd/0; cut -d' ' -f1,5,6 /proc/$$/stat`, 0))
	env, rest, _ := strings.Cut(e.Output, "\n\n")
	names := []string{}
	for line := range strings.Lines(env) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{"CELLHOLD_KERNEL", "GIVEN", "GOMP_SPINCOUNT", "HOME", "KMP_BLOCKTIME", "LANG", "OMP_WAIT_POLICY", "PATH", "PWD", "USER"} // sh adds PWD
	if !slices.Equal(names, want) {
		t.Errorf("environment %q, want %q", names, want)
	}
	fds, rest, _ := strings.Cut(rest, "\n\n")
	if fds != "0\n1\n2" {
		t.Errorf("open files %q, want 0, 1 and 2", fds)
	}
	in, ids, _ := strings.Cut(rest, "\n")
	if in != "/dev/null" {
		t.Errorf("stdin is %q", in)
	}
	if f := strings.Fields(ids); len(f) != 3 || f[0] != f[1] || f[0] != f[2] {
		t.Errorf("pid, group and session are %q, want one number", ids)
	}
}

func TestAProcessRunsAsAnotherUserWithoutPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to start a process as another user")
	}
	e := ended(t, launch(t, `cat /proc/self/status; ls -ld "${0%/*}" "$0" | cut -c1-10; head -c 1 "$0"`, 54321))
	for _, want := range []string{
		"Uid:\t54321\t54321\t54321\t54321", "Gid:\t54321\t54321\t54321\t54321", "Groups:\t \n", "NoNewPrivs:\t1",
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "CapBnd:\t0000000000000000",
		"drwx------\n-rw-------\n{",
	} {
		if !strings.Contains(e.Output, want) {
			t.Errorf("lacks %q:\n%s", want, e.Output)
		}
	}
	if status, err := os.ReadFile("/proc/self/status"); err != nil || strings.Contains(string(status), "NoNewPrivs:\t1") {
		t.Log("this process has no_new_privs, so that this part proves nothing here")
	}
}

func TestKillEndsAllChildrenOfAProcess(t *testing.T) {
	p := launch(t, "sleep 1000 & setsid sleep 1001 & setsid sh -c 'sleep 1002 & sleep 1003' & echo; wait", 0)
	mark := markOf(t, p)
	for len(marked(mark)) < 6 { // two processes of sh, four of sleep
		select {
		case <-p.Done():
			t.Fatalf("the process ended early: %+v", p.Exit())
		case <-time.After(5 * time.Millisecond): // no event reports the start of a process
		}
	}
	p.Kill()
	p.Kill()
	if left := marked(mark); len(left) > 0 {
		t.Errorf("processes %v still run", left)
	}
	if _, err := os.Stat(filepath.Dir(p.Connection().Prefix)); !os.IsNotExist(err) {
		t.Errorf("the kernel's directory still exists: %v", err)
	}
}

func markOf(t *testing.T, p kernels.Process) string {
	t.Helper()
	return "CELLHOLD_KERNEL=" + filepath.Base(filepath.Dir(p.Connection().Prefix))
}

// marked returns the running processes of a kernel.
func marked(mark string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if s := stateOf(pid); err == nil && s != "Z" && s != "" && strings.Contains(string(env), mark) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestAnErrorForAnUnknownKernelNamesTheKnownKernels(t *testing.T) {
	dir := shortDir(t)
	l, err := shells(dir, "", 0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = l.Launch(t.Context(), kernels.LaunchSpec{Kernel: "k", Spec: "cobol"})
	if err == nil || !strings.Contains(err.Error(), "known are sh") {
		t.Errorf("%v, want an error that names sh", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "run")); err != nil || len(left) != 0 {
		t.Errorf("the failed start left the directories %v (%v)", left, err)
	}
}

func TestTheFirstProcessReapsOrphansAndKillsAll(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make a process namespace")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), initHelper+"="+shortDir(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "cannot mount") || strings.Contains(fmt.Sprint(err), "operation not permitted") {
		t.Skipf("no process namespace here: %v %s", err, out)
	}
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// actAsInit runs as PID 1 for TestTheFirstProcessReapsOrphansAndKillsAll. It starts a kernel whose processes leave
// the session, hide their environment and become zombies. Then it kills the kernel.
func actAsInit() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot mount: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("cannot mount: %w", err)
	}
	const script = `
i=0; while [ $i -lt 20 ]; do (env -i setsid sh -c 'sleep 1000 & env -i setsid sleep 1001' &) ; (sh -c 'exit 1' &); i=$((i+1)); done
sleep 0.5; exit 9`
	l, err := shells(os.Getenv(initHelper), script, 54321, true)
	if err != nil {
		return err
	}
	defer l.Close()
	p, err := l.Launch(context.Background(), kernels.LaunchSpec{Kernel: "k", Spec: "sh"})
	if err != nil {
		return err
	}
	<-p.Done()
	if e := p.Exit(); e.Code != 9 {
		return fmt.Errorf("exit %+v, want 9", e)
	}
	before := pids()
	if len(before) < 40 {
		return fmt.Errorf("processes before the kill: %v, want more than 40", before)
	}
	p.Kill()
	after := pids()
	for deadline := time.Now().Add(patience); len(after) > 1 && time.Now().Before(deadline); after = pids() {
		// The launcher's own goroutine reaps the killed processes.
	}
	if len(after) != 1 {
		return fmt.Errorf("processes after the kill: %v, want 1 only", after)
	}
	return nil
}

func pids() []string {
	var pids []string
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, e.Name())
		}
	}
	return pids
}
