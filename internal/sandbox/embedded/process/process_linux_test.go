package process

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSandboxProcessesAreRecognisedByTheirName(t *testing.T) {
	for arg0, want := range map[string]bool{
		"runsc": true, "runsc-sandbox": true, "runsc-gofer": true, "runsc[getUsernsFD]": true,
		"/proc/self/exe": true, "cellhold": false, "/usr/bin/cellhold": false, "exe": false, "": false,
	} {
		if got := IsSandbox(arg0); got != want {
			t.Errorf("%q: got %v", arg0, got)
		}
	}
}

func TestAReusedPidIsAnotherProcess(t *testing.T) {
	me, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !me.Alive() {
		t.Error("this process is said to be dead")
	}
	me.Start++ // another process with the same pid
	if me.Alive() {
		t.Error("another process with its pid counts as alive")
	}
	if h, err := me.Open(); h != nil || err != nil {
		t.Errorf("open returned %v, %v; want nil", h, err)
	}
}

// TestAProgramKeepsItsDescriptorUntilItStarts: Go uses descriptors in the child before it starts the program.
func TestAProgramKeepsItsDescriptorUntilItStarts(t *testing.T) {
	const below = 200 // more than this process has open
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	binary, err := os.Open("/bin/true")
	if err != nil {
		t.Skipf("needs a program: %v", err)
	}
	defer binary.Close()
	at := func(f *os.File, number int) *os.File {
		t.Helper()
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, number)
		if err != nil || fd != number {
			t.Fatalf("got the descriptor %d, %v; want %d", fd, err, number)
		}
		return os.NewFile(uintptr(fd), f.Name())
	}
	stderr, program := at(null, below), at(binary, below+1)
	defer stderr.Close()
	defer program.Close()
	for range 2 { // the second time shows that the first one closed its copy only
		cmd := exec.Command(fmt.Sprint(Descriptors, program.Fd()))
		cmd.Stderr = stderr
		if err := Children.Run(cmd); err != nil {
			t.Error(err)
		}
	}
	if err := Children.Run(exec.Command(fmt.Sprint(Descriptors, program.Fd()))); err != nil {
		t.Errorf("without a standard error: %v", err)
	}
	if _, err := unix.FcntlInt(below+2, unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("a descriptor is left open: %v", err)
	}
}

// TestAProcessOfAnotherUserIsNoSandboxProcess: each user of the host chooses the names and arguments of its processes.
func TestAProcessOfAnotherUserIsNoSandboxProcess(t *testing.T) {
	root := t.TempDir()
	cmd := exec.Command("/bin/sh")
	cmd.Args = []string{"runsc-sandbox", "-c", "echo; read x", rootFlag + root}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }()
	if _, err := out.Read(make([]byte, 1)); err != nil { // from now on it has its arguments
		t.Fatal(err)
	}
	me := uint32(os.Geteuid())
	ours, others := Users(func(uid uint32) bool { return uid == me }), Users(func(uid uint32) bool { return uid != me })
	if len(ours.StartedWith(root)) != 1 || len(ours.Roots()[root]) != 1 {
		t.Error("a sandbox process of this user was not found")
	}
	if len(others.StartedWith(root)) != 0 || len(others.Roots()[root]) != 0 {
		t.Error("a process of this user counts as a sandbox process of another user")
	}
}
