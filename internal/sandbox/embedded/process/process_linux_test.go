package process

import (
	"os"
	"testing"
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
