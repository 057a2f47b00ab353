package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// gVisor creates a group under every controller of the host. If one controller is not writable, no sandbox starts.
func TestControllersThatGVisorNeedsAreLookedAt(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, controller := range []string{"memory", "cpu", "cpuacct", "pids", "cpuset", "blkio"} {
		if err := os.Mkdir(filepath.Join(root, controller), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := findCgroups(root); err != nil {
		t.Fatalf("with all controllers: %v", err)
	}
	for _, controller := range []string{"cpuset", "blkio"} {
		taken := filepath.Join(root, controller, cgroupParent) // a file, so that even root cannot create a group
		if err := errors.Join(os.RemoveAll(taken), os.WriteFile(taken, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := findCgroups(root); err == nil || !strings.Contains(err.Error(), "cgroup controller "+controller) {
			t.Errorf("without %s: %v", controller, err)
		}
		if err := os.RemoveAll(filepath.Join(root, controller)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := findCgroups(root); err != nil {
		t.Errorf("on a host without these controllers: %v", err)
	}
}

func TestTheDoctorChecksTheUser(t *testing.T) {
	t.Parallel()
	none := errors.New("no cgroups")
	for name, x := range map[string]struct {
		root, admin, ids bool
		limits           error
		ok               bool
		says             string
	}{
		"root":                        {true, true, true, nil, true, "as root"},
		"root without capabilities":   {true, false, true, nil, false, "CAP_SYS_ADMIN"},
		"root without uids":           {true, true, false, nil, false, "uids from 200000 on"},
		"a plain user":                {false, false, false, none, false, "not enforced"},
		"a plain user with delegated": {false, false, false, nil, true, "limit memory, CPU and processes"},
	} {
		f := userFinding(x.root, x.admin, x.ids, 200000, x.limits)
		if f.OK != x.ok || f.OK != (f.Fix == "") || !strings.Contains(f.Detail, x.says) {
			t.Errorf("%s: got %+v, want OK %v and the detail %q", name, f, x.ok, x.says)
		}
	}
}
