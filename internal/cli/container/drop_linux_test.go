package container

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// acts is the variable that lets the test binary give up its rights, and print those that it has after that.
const acts = "TEST_ACTS"

func TestMain(m *testing.M) {
	switch os.Getenv(acts) {
	case "":
		os.Exit(m.Run())
	case "become":
		fmt.Println(User{1000, 1001}.Become([]string{acts + "=rest"}))
	case "rest":
		if err := GiveUpRest(os.Environ()); err != nil {
			fmt.Println(err)
		}
		status, err := os.ReadFile("/proc/thread-self/status")
		fmt.Printf("%s%v\n", status, err)
	}
}

// rights runs the test binary with these attributes, and returns the rights that it printed.
func rights(t *testing.T, act string, attributes *syscall.SysProcAttr) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start a program as another user")
	}
	dir, err := os.MkdirTemp("", "cellhold-test-") // t.TempDir is closed for other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	own, err := os.ReadFile("/proc/self/exe")
	program := filepath.Join(dir, "program")
	if err == nil {
		err = os.WriteFile(program, own, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env, cmd.SysProcAttr = []string{acts + "=" + act}, attributes
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// none are the lines of a process without capabilities, which an execve does not give it again.
var none = []string{"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"}

func TestRootBecomesAUserWithoutRights(t *testing.T) {
	got := rights(t, "become", nil)
	for _, want := range append([]string{"Uid:\t1000\t1000\t1000\t1000", "Gid:\t1001\t1001\t1001\t1001", "Groups:\t \n", "CapBnd:\t0000000000000000"}, none...) {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q", got, want)
		}
	}
}

func TestCapabilitiesOfAPlainUserAreGivenUp(t *testing.T) {
	got := rights(t, "rest", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}, AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN}})
	for _, want := range append([]string{"Uid:\t1000\t1000\t1000\t1000"}, none...) {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q", got, want)
		}
	}
}
