package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// templated starts the server like serve, but with templates.
func templated(t *testing.T, home string, flags ...string) *server {
	t.Helper()
	return serve(t, home, append([]string{"--no-templates=false"}, flags...)...)
}

// awaitTemplate waits until wanted accepts a template, and returns it. what names the condition. It polls, because
// templates have no events.
func (s *server) awaitTemplate(t *testing.T, what string, wanted func(cellhold.Template) bool) cellhold.Template {
	t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	late := time.After(3 * time.Minute)
	for {
		list, err := s.Templates(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(list, wanted); i >= 0 {
			return list[i]
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("no template is %s: %+v", what, list)
		}
	}
}

// awaitReady waits until n warm sandboxes are ready.
func (s *server) awaitReady(t *testing.T, n int) cellhold.Template {
	t.Helper()
	return s.awaitTemplate(t, "warm", func(x cellhold.Template) bool { return x.Ready >= n })
}

// sandboxes counts all live sandboxes, and the early ones: they were made before a session needed them.
func (s *server) sandboxes(t *testing.T) (all, early int) {
	t.Helper()
	dirs, err := os.ReadDir(filepath.Join(s.home, "run"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		all++
		if strings.HasPrefix(d.Name(), "w") {
			early++
		}
	}
	return all, early
}

// snapshots returns the paths of the templates' snapshots.
func (s *server) snapshots(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.home, "snapshots", "tpl-*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// loaded prints the modules of the warm-up that the kernel has imported. warm and cold are its outputs in warm or
// restored sessions and in cold sessions. names prints the global names.
const (
	loaded = "import sys\nprint([m for m in ('numpy', 'pandas', 'matplotlib.pyplot') if m in sys.modules])"
	names  = "print(sorted(globals()))"
	warm   = "['numpy', 'pandas', 'matplotlib.pyplot']"
	cold   = "[]"
)

func TestASessionFromATemplateIsWarmAndMatchesItsRequest(t *testing.T) {
	t.Parallel()
	s := templated(t, newHome(t), "--warm=2", "--max-egress=public", "--max-memory=2GiB", "--max-disk=2GiB",
		"--templates=[{name: python}, {name: web, egress: public, warmup: import pandas}]")
	s.awaitReady(t, 2)
	t.Run("the first cell finds loaded modules and an empty namespace", func(t *testing.T) {
		other := s.session(t, client.CreateSession{Limits: cellhold.Limits{Disk: 1 << 29}})
		s.awaitReady(t, 2)
		id := s.session(t, client.CreateSession{})
		c := s.run(t, id, names)
		if c.ExecutionCount != 1 {
			t.Errorf("the first cell has the number %d, want 1", c.ExecutionCount)
		}
		if want := s.must(t, other, names); text(c) != want {
			t.Errorf("the first cell finds the names\n%sand in a cold session\n%s", text(c), want)
		}
		if got := s.oneLine(t, id, loaded); got != warm {
			t.Errorf("loaded is %s, want %s", got, warm)
		}
		if got := s.oneLine(t, other, loaded); got != cold {
			t.Errorf("a session with another disk limit has loaded %s, want a cold start", got)
		}
		x, err := s.Session(t.Context(), id)
		if err != nil || x.Template != "python" {
			t.Errorf("the session has the template %q (%v), want python", x.Template, err)
		}
		if _, early := s.sandboxes(t); early == 0 {
			t.Error("got 0 warm sandboxes, want at least 1")
		}
		s.end(t, id, other)
	})
	t.Run("clones of one snapshot differ", func(t *testing.T) { clonesDiffer(t, s) })
	t.Run("plots are drawn, startup code runs, restarts work", func(t *testing.T) { kernelWorks(t, s) })
	t.Run("a session has the properties of its request", func(t *testing.T) { sessionsMatchRequests(t, s) })
	t.Run("an unknown template is refused", func(t *testing.T) {
		_, err := s.CreateSession(t.Context(), client.CreateSession{Template: "nonesuch"})
		if cellhold.KindOf(err) != cellhold.NotFound || !strings.Contains(err.Error(), "python") {
			t.Errorf("got %v, want the list of templates", err)
		}
	})
}

// oneLine runs a cell that prints one line, and returns it.
func (s *server) oneLine(t *testing.T, id cellhold.SessionID, code string) string {
	t.Helper()
	return strings.TrimSpace(s.must(t, id, code))
}

// end deletes sessions.
func (s *server) end(t *testing.T, ids ...cellhold.SessionID) {
	t.Helper()
	for _, id := range ids {
		if err := s.DeleteSession(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// clonesDiffer checks that sessions from one snapshot have different random numbers and identities.
func clonesDiffer(t *testing.T, s *server) {
	code, err := os.ReadFile("testdata/clone.py")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for range 3 {
		id := s.session(t, client.CreateSession{})
		for line := range strings.Lines(s.must(t, id, string(code))) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if value == "" || seen[name] == value {
				t.Errorf("%s is %q in two sessions, want different values that are not empty", name, value)
			}
			seen[name] = value
		}
		s.end(t, id)
	}
	if len(seen) < 5 {
		t.Errorf("compared %d values, want at least 5", len(seen))
	}
}

// kernelWorks checks the kernel of a warm session: plots, startup code, restarts and the memory limit.
func kernelWorks(t *testing.T, s *server) {
	s.awaitReady(t, 1)
	id := s.session(t, client.CreateSession{Startup: "began = 5"})
	defer s.end(t, id)
	c := s.run(t, id, "import matplotlib.pyplot as plt\nplt.plot([began])")
	image := false
	for _, o := range c.Outputs {
		image = image || o.Data["image/png"] != nil
	}
	if c.Status != cellhold.StatusOK || !image {
		t.Errorf("the plot ended with %s and %d outputs, want ok and a PNG", c.Status, len(c.Outputs))
	}
	s.must(t, id, "mine = 1")
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if got := s.oneLine(t, id, "print(began, 'mine' in globals())"); got != "5 False" {
		t.Errorf("after the restart: %s, want 5 False", got)
	}
	if c := s.run(t, id, "b = bytearray(3 << 30)\nfor i in range(0, len(b), 4096): b[i] = 1"); c.Status != cellhold.StatusOOM && c.Status != cellhold.StatusError {
		t.Errorf("3 GiB in a session of 1 GiB ended with %s, want oom or error", c.Status)
	}
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if got := s.oneLine(t, id, "print(began)"); got != "5" {
		t.Errorf("after the out-of-memory end: %s, want 5", got)
	}
}

// sessionsMatchRequests checks that a session has its requested properties, and which requests start it cold.
func sessionsMatchRequests(t *testing.T, s *server) {
	const reach = "import socket\ntry:\n    socket.create_connection(('192.0.2.1', 80), 3)\nexcept OSError as e:\n    print('no', e.errno)"
	const proxies = "import os\nprint('https_proxy' in os.environ)"
	const total = "print(int(open('/proc/meminfo').readline().split()[1]) >> 10)"
	s.awaitTemplate(t, "web", func(x cellhold.Template) bool { return x.Name == "web" && x.State == cellhold.TemplateReady })
	for _, x := range []struct {
		name, code, want string
		r                client.CreateSession
	}{
		{"no egress in the environment", proxies, "False", client.CreateSession{}},
		{"no egress for a connection", reach, "no 101", client.CreateSession{}},
		{"egress", proxies, "True", client.CreateSession{Egress: &cellhold.Egress{Policy: cellhold.EgressPublic}}},
		{"egress of a template", proxies, "True", client.CreateSession{Template: "web"}},
		{"warm-up of a template", loaded, "['numpy', 'pandas']", client.CreateSession{Template: "web"}},
		{"cold without the template's egress", loaded, cold, client.CreateSession{Template: "web", Egress: &cellhold.Egress{}}},
		{"memory", total, "512", client.CreateSession{Limits: cellhold.Limits{Memory: 512 << 20}}},
		{"warm with another memory limit", loaded, warm, client.CreateSession{Limits: cellhold.Limits{Memory: 512 << 20}}},
		{"cold with another CPU limit", loaded, cold, client.CreateSession{Limits: cellhold.Limits{CPU: 0.5}}},
	} {
		id := s.session(t, x.r)
		if got := s.oneLine(t, id, x.code); got != x.want {
			t.Errorf("%s: got %q, want %q", x.name, got, x.want)
		}
		s.end(t, id)
	}
}

func TestTheNextServerRemovesTheWarmSandboxesOfAKilledServer(t *testing.T) {
	t.Parallel()
	s := templated(t, newHome(t), "--warm=2")
	first := s.awaitReady(t, 2)
	s.signal(t, syscall.SIGKILL)
	if all, early := s.sandboxes(t); early < 2 {
		t.Fatalf("got %d warm sandboxes of %d, want at least 2", early, all)
	}
	// The next server uses the snapshot, and makes its own sandboxes.
	s = templated(t, s.home, "--warm=1")
	if again := s.awaitReady(t, 1); !again.Built.Equal(first.Built) {
		t.Errorf("the next server uses a snapshot of %s, want the snapshot of %s", again.Built, first.Built)
	}
	if all, _ := s.sandboxes(t); all != 1 {
		t.Errorf("got %d sandboxes, want 1", all)
	}
	s.signal(t, syscall.SIGTERM)
	if all, _ := s.sandboxes(t); all != 0 {
		t.Errorf("got %d sandboxes after the end of the server, want 0", all)
	}
	// A server with another disk limit needs another snapshot, and removes the old one.
	s = templated(t, s.home, "--warm=1", "--disk=512MiB")
	if other := s.awaitReady(t, 1); other.Built.Equal(first.Built) {
		t.Error("with another disk limit: got the old snapshot, want a new one")
	}
	if got := s.snapshots(t); len(got) != 1 {
		t.Errorf("the snapshots are %v, want one", got)
	}
	s.signal(t, syscall.SIGKILL)
	s = serve(t, s.home) // without templates
	if all, _ := s.sandboxes(t); all != 0 {
		t.Errorf("got %d sandboxes, want 0", all)
	}
}

func TestADamagedSnapshotIsRebuiltAndSessionsStartColdUntilThen(t *testing.T) {
	t.Parallel()
	s := templated(t, newHome(t), "--warm=0")
	before := s.awaitTemplate(t, "ready", func(x cellhold.Template) bool { return x.State == cellhold.TemplateReady })
	id := s.session(t, client.CreateSession{})
	if got := s.oneLine(t, id, loaded); got != warm { // the session is restored, because no sandbox is ready
		t.Errorf("loaded is %s, want %s", got, warm)
	}
	s.end(t, id)
	for _, dir := range s.snapshots(t) {
		flipByte(t, filepath.Join(dir, "pages.img"))
	}
	id = s.session(t, client.CreateSession{})
	if got := s.oneLine(t, id, "print(6 * 7)"); got != "42" {
		t.Errorf("a session prints %s, want 42", got)
	}
	s.end(t, id)
	s.awaitTemplate(t, "rebuilt", func(x cellhold.Template) bool {
		return x.State == cellhold.TemplateReady && x.Built.After(before.Built)
	})
	id = s.session(t, client.CreateSession{})
	if got := s.oneLine(t, id, loaded); got != warm {
		t.Errorf("loaded is %s, want %s", got, warm)
	}
}

func TestTheSessionsOfATemplateHaveItsPackages(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil)
	s := templated(t, newHome(t), "--package-index", p.index(), "--templates=[{name: own, warm: 0, packages: [cell-demo], warmup: import cell_demo}]")
	s.awaitTemplate(t, "ready", func(x cellhold.Template) bool { return x.State == cellhold.TemplateReady })
	const version = "import cell_demo, sys\nprint(cell_demo.__version__, 'pandas' in sys.modules)"
	for _, r := range []client.CreateSession{
		{},
		{Limits: cellhold.Limits{CPU: 0.5}}, // starts cold, and has the packages too
	} {
		id := s.session(t, r)
		if got := s.oneLine(t, id, version); got != "1.0 False" {
			t.Errorf("%+v: got %s, want %s", r.Limits, got, "1.0 False")
		}
		x, err := s.Session(t.Context(), id)
		if err != nil || len(x.Packages) != 1 || x.Packages[0].Name != "cell-demo" {
			t.Errorf("the session lists the packages %+v (%v), want cell-demo", x.Packages, err)
		}
		s.end(t, id)
	}
}
