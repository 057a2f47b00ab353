package e2e

import (
	"cellhold/client"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// refusal is a program that must not start.
type refusal struct {
	program []string // empty: the binary; otherwise a command that starts the program after it
	args    []string // of the binary
	status  int
	says    string
}

// check runs the program, which must print one sentence with the reason, or the findings of the doctor.
func (r refusal) check(t *testing.T, name string) {
	t.Helper()
	line := append(append(r.program, binary(t)), r.args...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // for a program that starts
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	out, _ := cmd.CombinedOutput() // the test checks the exit status below
	text := string(out)
	doctor := slices.Contains(r.args, "doctor")
	if cmd.ProcessState.ExitCode() != r.status || !strings.Contains(text, r.says) || strings.Contains(text, "goroutine") || !doctor && strings.Count(text, "cellhold: ") != 1 {
		t.Errorf("%s: got exit status %d with %s, want %d with %q", name, cmd.ProcessState.ExitCode(), text, r.status, r.says)
	}
	if doctor && strings.Count(text, "MISSING") > strings.Count(text, "fix: ") {
		t.Errorf("%s: the doctor prints a problem without a remedy: %s", name, text)
	}
}

// hello returns the path of a script.
func hello(t *testing.T) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "s.py")
	if err := os.WriteFile(script, []byte("print(1)"), 0o600); err != nil {
		t.Fatal(err)
	}
	return script
}

func TestAServerThatCannotStartPrintsTheReason(t *testing.T) {
	t.Parallel()
	script, long, held, broken := hello(t), filepath.Join(newHome(t), strings.Repeat("long", 25)), newHome(t), emptyHome(t)
	s := serve(t, held)
	file, empty, zeros := filepath.Join(t.TempDir(), "file"), emptyHome(t), strings.Repeat("0", 64)
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.MkdirAll(filepath.Join(broken, "images", "refs"), 0o755),
		os.WriteFile(filepath.Join(broken, "images", "refs", "python:latest"), []byte("sha256:"+zeros), 0o600), os.CopyFS(empty, os.DirFS(broken)),
		os.Mkdir(filepath.Join(empty, "images", zeros), 0o755), os.WriteFile(filepath.Join(empty, "images", zeros, "image.json"), []byte(`{"digest": "sha256:`+zeros+`"}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	none := []string{"unshare", "--user", "--map-root-user", "sh", "-c", `echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"`, "sh"}
	fewFiles := []string{"sh", "-c", `ulimit -n 1024 && exec "$@"`, "sh"}
	serveOn := func(home string, more ...string) []string {
		return append([]string{"--home", home, "serve", "--listen", "127.0.0.1:0"}, more...)
	}
	for name, x := range map[string]refusal{
		"serve, a path too long for sockets": {nil, serveOn(long), 1, "is too long"},
		"run, a path too long for sockets":   {nil, []string{"--home", long, "run", script}, 1, "is too long"},
		"serve, a home in use":               {nil, serveOn(held), 5, "Stop that server, or use another directory with --home"},
		"serve, a port in use":               {nil, serveOn(newHome(t), "--listen", strings.TrimPrefix(s.url, "http://")), 1, "choose another address with --listen"},
		"serve, no such image":               {nil, serveOn(newHome(t), "--image", "none"), 4, "run: cellhold image build"},
		"run, no such image":                 {nil, []string{"--home", emptyHome(t), "run", script}, 1, "run: cellhold image build"},
		"run, an image without files":        {nil, []string{"--home", empty, "run", script}, 1, "then cellhold image build"},
		"run, a broken image":                {nil, []string{"--home", broken, "run", script}, 1, "To write it again, run cellhold image build"},
		"doctor, a broken image":             {nil, []string{"--home", broken, "doctor"}, 1, "fix: cellhold image build"},
		"serve, a file as home":              {nil, serveOn(file), 1, "use --home with a folder that this user can write to"},
		"run, a file as home":                {nil, []string{"--home", file, "run", script}, 1, "use --home with a folder that this user can write to"},
		"doctor, a file as home":             {nil, []string{"--home", file, "doctor"}, 1, "use --home with a folder that this user can write to"},
		"serve, few open files":              {fewFiles, serveOn(newHome(t)), 1, "a process can open 1024 files; a sandbox needs 4096; raise the limit"},
		"doctor, few open files":             {fewFiles, []string{"--home", newHome(t), "doctor"}, 1, "LimitNOFILE=65536"},
		"serve, no user namespaces":          {none, serveOn(newHome(t)), 1, "sandboxes need root or user namespaces"},
		"run, no user namespaces":            {none, []string{"--home", newHome(t), "run", script}, 1, "sandboxes need root or user namespaces"},
		"doctor, no user namespaces":         {none, []string{"--home", newHome(t), "doctor"}, 1, "fix: allow user namespaces"},
	} {
		x.check(t, name)
	}
}

// A wrong setting has an exit status of its own, which scripts can recognise.
func TestAWrongSettingIsAWrongUse(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	for says, args := range map[string][]string{
		"--cell-timeout must be greater than 0":    {"serve", "--cell-timeout", "0"},
		"cell-timeout (2h0m0s) must not be longer": {"serve", "--cell-timeout", "2h", "--max-cell-timeout", "1h"},
		"--max-sessions must be greater than 0":    {"serve", "--max-sessions=-1"},
		"--tls-cert and --tls-key must be given":   {"serve", "--tls-cert", "/dev/null"},
		"open to other machines, and plain HTTP":   {"serve", "--listen", "0.0.0.0:0"},
		"without authentication":                   {"serve", "--listen", "0.0.0.0:0", "--auth", "off"},
		"is not a web origin":                      {"serve", "--origin", "nonsense"},
		"allows more than --max-egress=none":       {"serve", "--egress", "public", "--max-egress", "none"},
		"--package-offline needs --package-folder": {"serve", "--package-offline"},
		"must not be negative":                     {"serve", "--warm=-1"},
		"not allow installing packages":            {"serve", "--templates", "[{name: a, packages: [b]}]", "--packages", "off"},
		"maximum for memory is 1048576":            {"serve", "--memory", "1MiB"},
		"a setting of the server and cannot be":    {"run", "--url", "http://127.0.0.1:1", "--data", ".", hello(t)},
		"unknown flag --memori":                    {"run", "--memori", "1GiB", hello(t)},
		"a session needs":                          {"run", "--memory", "1MiB", hello(t)},
	} {
		args = append([]string{"--home", home}, args...)
		if args[2] == "serve" && !slices.Contains(args, "--listen") {
			args = append(args, "--listen", "127.0.0.1:0")
		}
		refusal{nil, args, 2, says}.check(t, says)
	}
}

// Root without its usual rights would make weaker sandboxes than root with them.
func TestRootWithoutItsRightsGetsARemedy(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has rights to drop")
	}
	without := func(caps string) []string {
		return []string{"setpriv", "--bounding-set=" + caps, "--inh-caps=" + caps}
	}
	noCgroups := []string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs none /sys/fs/cgroup && exec "$@"`, "sh"}
	closed, theirs := newHome(t), newHome(t)
	if err := errors.Join(os.Chmod(closed, 0o700), os.Chmod(theirs, 0o700), os.Chown(theirs, 54321, 54321)); err != nil {
		t.Fatal(err)
	}
	script := hello(t)
	for name, x := range map[string]struct {
		program []string
		home    string
		says    string
		fix     string // of the doctor
	}{
		"no CAP_SYS_ADMIN":         {without("-sys_admin"), newHome(t), "--accept-missing-limits", "fix: give the container CAP_SYS_ADMIN"},
		"no cgroups":               {noCgroups, newHome(t), "--accept-missing-limits", "fix: run the server as root on a host with the memory"},
		"a closed home":            {nil, closed, "allow it with: chmod o+x " + closed, "allow it with: chmod o+x " + closed},
		"another user's home":      {without("-dac_override,-dac_read_search"), theirs, "or run as the owner of the home", "or run as the owner of the home"},
		"another user's open home": {nil, theirs, "allow it with: chmod o+x " + theirs, "allow it with: chmod o+x " + theirs},
	} {
		refusal{x.program, []string{"--home", x.home, "serve", "--listen", "127.0.0.1:0"}, 1, x.says}.check(t, "serve, "+name)
		refusal{x.program, []string{"--home", x.home, "run", script}, 1, x.says}.check(t, "run, "+name)
		refusal{x.program, []string{"--home", x.home, "doctor", "--listen", "127.0.0.1:0"}, 1, x.fix}.check(t, "doctor, "+name)
	}
	accepts := []string{"--home", newHome(t), "doctor", "--listen", "127.0.0.1:0", "--accept-missing-limits"}
	refusal{noCgroups, accepts, 0, "This host can run cellhold."}.check(t, "doctor, accepted")
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
