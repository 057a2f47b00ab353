package e2e

import (
	"cellhold/client"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAServerThatCannotStartPrintsTheReason(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "s.py")
	if err := os.WriteFile(script, []byte("print(1)"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(newHome(t), strings.Repeat("long", 25))
	held := newHome(t)
	s := serve(t, held)
	for name, x := range map[string]struct {
		args []string
		says string
	}{
		"serve, a path too long for sockets": {[]string{binary(t), "--home", long, "serve", "--listen", "127.0.0.1:0"}, "is too long"},
		"run, a path too long for sockets":   {[]string{binary(t), "--home", long, "run", script}, "is too long"},
		"a home in use":                      {[]string{binary(t), "--home", held, "serve", "--listen", "127.0.0.1:0"}, "Another server"},
		"a port in use":                      {[]string{binary(t), "--home", newHome(t), "serve", "--listen", strings.TrimPrefix(s.url, "http://")}, "choose another address with --listen"},
		"no such image":                      {[]string{binary(t), "--home", newHome(t), "serve", "--listen", "127.0.0.1:0", "--image", "none"}, "none"},
		"no user namespaces": {[]string{"unshare", "--user", "--map-root-user", "sh", "-c",
			`echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"`, "sh", binary(t), "--home", newHome(t), "run", script}, "sandboxes need root or user namespaces"},
	} {
		cmd := exec.Command(x.args[0], x.args[1:]...)
		out, _ := cmd.CombinedOutput() // the test checks the exit status below
		if text := string(out); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(text, x.says) || strings.Contains(text, "goroutine") {
			t.Errorf("%s: got exit status %d with %s, want 1 with %q", name, cmd.ProcessState.ExitCode(), text, x.says)
		}
	}
}

// The kernel sends SIGHUP when the terminal closes. nohup makes a program ignore SIGHUP.
func TestAHangupStopsAServerUnlessNohupStartedIt(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home, "--ephemeral")
	s.session(t, client.CreateSession{})
	s.signal(t, syscall.SIGHUP)
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("got exit status %d, want 0: %s", code, s.log)
	}
	if left, err := filepath.Glob(filepath.Join(home, "run", "s*")); err != nil || len(left) > 0 {
		t.Errorf("got the sandboxes %v (%v), want 0", left, err)
	}

	ignoring := filepath.Join(t.TempDir(), "cellhold")
	if err := os.WriteFile(ignoring, []byte("#!/bin/sh\ntrap '' HUP\nexec '"+binary(t)+"' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s = serveBy(t, ignoring, newHome(t), "--ephemeral")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(s.url + "/docs")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	s.must(t, s.session(t, client.CreateSession{}), "1")
}

// The folder of --data belongs to the user, and the server could write output files below it.
func TestASessionWritesNoFileToTheDataFolder(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "x.csv"), []byte("a,b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for dir := data; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Dir(data), 0o755) })
	s := serve(t, newHome(t), "--data", data)
	id := s.session(t, client.CreateSession{})
	const code = "print(open('/mnt/data/x.csv').read(), open('/mnt/data/output/y%d.txt', 'w').write('y'))"
	s.must(t, id, strings.ReplaceAll(code, "%d", "1"))
	if _, err := s.Hibernate(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	s.must(t, id, strings.ReplaceAll(code, "%d", "2"))
	if files, err := s.Files(t.Context(), id); err != nil || len(files) != 2 {
		t.Errorf("got the output files %+v, %v; want 2", files, err)
	}
	if left, err := os.ReadDir(data); err != nil || len(left) != 1 {
		t.Errorf("the data folder has %v, want only x.csv (%v)", left, err)
	}
}

// The doctor tries each operation. It does not ask for capabilities that no operation needs.
func TestTheDoctorRequiresOnlyNeededCapabilities(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has capabilities to drop")
	}
	cmd := exec.Command("setpriv", "--bounding-set=-setfcap", "--inh-caps=-setfcap", binary(t), "--home", newHome(t), "doctor", "--listen", "127.0.0.1:0")
	out, _ := cmd.CombinedOutput() // other tools can be missing here
	if !strings.Contains(string(out), "ok       a sandbox starts") || !strings.Contains(string(out), "ok       user namespaces") {
		t.Errorf("without setfcap the doctor prints:\n%s\nwant ok for sandboxes and for user namespaces", out)
	}
}
