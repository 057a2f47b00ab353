package embedded_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobodyElse is a uid that distributions do not assign.
const nobodyElse = 54321

// TestAsAPlainUser runs the tests of this package that do not need root as an unprivileged user.
func TestAsAPlainUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this already is a plain user")
	}
	options(t) // creates the ground
	theirs, err := os.MkdirTemp("", "cu")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(theirs)
	for _, dir := range []string{"bin", "root"} {
		if err := os.CopyFS(filepath.Join(theirs, dir), os.DirFS(filepath.Join(ground, dir))); err != nil {
			t.Fatal(err)
		}
	}
	err = filepath.WalkDir(theirs, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, nobodyElse, nobodyElse)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(theirs, "bin", "guest"), 0o755); err != nil {
		t.Fatal(err)
	}
	const limit = 5 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.v", "-ground="+theirs,
		"-test.run=TestEmbeddedKeepsTheContract|TestUnenforcedLimits|TestAKilledServer|TestACreationKilled|TestARestoreKilled|TestAKilledSnapshot|TestALinkInUse|TestASaveNeverEnds|TestTheDoctor|EndsWithItsGofer|WhoseDirectoryWasDeleted|ThePrivateSandboxes")
	cmd.Args[0] = os.Args[0]
	cmd.Dir = theirs
	cmd.Env = []string{"TMPDIR=" + theirs, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobodyElse, Gid: nobodyElse}}
	out, err := cmd.CombinedOutput()
	t.Log(strings.TrimSpace(string(out)))
	if err != nil {
		t.Errorf("as uid %d: %v", nobodyElse, err)
	}
}
