package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// lockOf returns the lock file of a session. It must exist.
func (s *server) lockOf(t testing.TB, id cellhold.SessionID) string {
	t.Helper()
	lock, err := s.Lock(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

func TestCodeInstallsPackagesWithPipAndUvInEveryUsualWay(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	s := serve(t, newHome(t), "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	for i, way := range []string{
		"!pip install -q %s",
		"%%pip install %s",
		"!uv pip install --system %s",
		"!pip3 install '%s>=1,<2' --user --no-cache-dir --disable-pip-version-check --break-system-packages",
		"import subprocess, sys; subprocess.run([sys.executable, '-m', 'pip', 'install', '--root-user-action=ignore', '%s'], check=True)",
		"import os; assert os.system('pip install -qU %s') == 0",
		"%%%%bash\npip install %s",
		"open('/tmp/r.txt', 'w').write('# what is needed\\n%s==1.0\\n'); get_ipython().system('python -m pip install -r /tmp/r.txt')",
		"import pip; pip.main(['install', '%s'])",
	} {
		name := fmt.Sprintf("cell-way%d", i)
		sum := p.wheel(t, name, "1.0", nil)
		c := s.run(t, id, fmt.Sprintf(way, name), time.Minute)
		if got := s.must(t, id, "import cell_way"+fmt.Sprint(i)+" as m; m.__version__"); got != "'1.0'" || c.Status != cellhold.StatusOK {
			t.Errorf("%s: the cell ended with %s, the module has the version %s; want ok, '1.0': %s", way, c.Status, got, text(c))
		}
		if lock := s.lockOf(t, id); !strings.Contains(lock, name+"==1.0 \\\n    --hash=sha256:"+sum) {
			t.Errorf("%s: got the lock\n%s\nwant %s with its hash", way, lock, name)
		}
	}
	p.wheel(t, "cell-line", "1.0", nil)
	if out := s.line(t, id, "pip install cell-line && python3 -c 'import cell_line'"); !strings.Contains(out, "Successfully installed cell-line-1.0") {
		t.Errorf("a command: got %s, want \"Successfully installed cell-line-1.0\"", out)
	}
	k, err := s.AddKernel(t.Context(), id, "bash", "")
	if err != nil {
		t.Fatal(err)
	}
	if c := s.runOn(t, id, k.ID, "pip install cell-line; echo status $?"); !strings.Contains(text(c), "Requirement already satisfied: cell-line (1.0)") || !strings.Contains(text(c), "status 0") {
		t.Errorf("the Bash kernel: got %s, want \"already satisfied\" and status 0", text(c))
	}
}

func TestPipReportsChangesAndStaleModules(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil)
	p.wheel(t, "cell-late", "1.0", nil)
	p.wheel(t, "cell-said", "1.0", nil)
	s := serve(t, newHome(t), "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "%%writefile library.py\ntry:\n    import cell_late\nexcept ImportError:\n    cell_late = None\n")
	s.must(t, id, "import library")
	for _, step := range []struct{ code, want string }{
		{"!pip install cell-demo", "Successfully installed cell-demo-1.0"},
		{"!pip install -U --force-reinstall cell-said", "Downloading cell_said-1.0-py3-none-any.whl"},
		{"!pip install numpy cell_demo", "Requirement already satisfied: cell-demo (1.0)"},
		{"!pip install json", "json is part of Python"},
		{"!pip install -U pip", "pip belongs to the image"},
		{"!pip list", "cell-demo"},
		{"!pip show cell-demo", "Version: 1.0"},
		{"!pip freeze", "cell-demo==1.0"},
		{"!pip --version", "pip 2"},
		{"!uv --version", "uv "},
		{"import cell_demo", ""},
		{"!pip install cell-late", "library, which looked for cell-late before"},
		{"!pip uninstall cell-demo", "pip uninstall -y"},
		{"!pip uninstall -y cell-demo", "Successfully uninstalled cell-demo-1.0"},
		{"!pip install cell-demo; echo status $?", "status 0"},
		{"!pip install cell-missing; echo status $?", "status 1"},
	} {
		if got := s.must(t, id, step.code); !strings.Contains(got, step.want) {
			t.Errorf("%s:\n%s\nwant %q", step.code, got, step.want)
		}
	}
	p.wheel(t, "cell-demo", "2.0", nil)
	if got := s.must(t, id, "!pip install cell-demo"); !strings.Contains(got, "already satisfied: cell-demo (1.0)") {
		t.Errorf("without -U: got %s, want \"already satisfied\" with 1.0", got)
	}
	if got := s.must(t, id, "!pip install --upgrade cell-demo"); !strings.Contains(got, "Successfully installed cell-demo-2.0") || !strings.Contains(got, "Restart the kernel") {
		t.Errorf("with --upgrade: got %s, want version 2.0 and \"Restart the kernel\"", got)
	}
}

func TestARefusedInstallationByCodeFailsWithAMessageAndWithoutRetries(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil, "Requires-Dist: cell-needed")
	p.wheel(t, "cell-needed", "1.0", nil)
	try := func(t *testing.T, s *server, id cellhold.SessionID, line, want string) {
		t.Helper()
		got := s.must(t, id, "!"+line+"; echo status $?")
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) || !strings.Contains(got, "status 1") {
			t.Errorf("%s:\n%s\nwant %q", line, got, want)
		}
		if strings.Contains(got, "Retrying") { // pip's retries take eight seconds
			t.Errorf("%s: got\n%s\nwant no retries", line, got)
		}
	}
	t.Run("unsupported arguments", func(t *testing.T) {
		t.Parallel()
		s := serve(t, newHome(t), "--package-index", p.index())
		id := s.session(t, client.CreateSession{})
		for line, words := range map[string]string{
			"pip install -i http://127.0.0.1:1/simple cell-demo":       "-i cannot be used here",
			"pip install --target=/tmp/x cell-demo":                    "--target cannot be used here",
			"pip install git+https://example.org/x":                    "git+https://example.org/x cannot be used here",
			"pip install https://example.org/x.whl":                    "cannot be used here",
			"pip install 'x @ https://example.org/x.whl'":              "cannot be used here",
			"echo --index-url http://x/ > r.txt; pip install -r r.txt": "which callers cannot set",
			"pip install -r nothing.txt":                               "nothing.txt cannot be read",
			"pip install --pre cell-demo":                              "--pre cannot be used here",
			"pip install --what cell-demo":                             "does not know the option --what",
			"pip install":                                              "at least one requirement",
			"pip download cell-demo":                                   "cannot reach",
			"pip list --outdated":                                      "cannot reach",
		} {
			try(t, s, id, line, words)
		}
	})
	for name, test := range map[string]struct {
		flags       []string
		line, words string
	}{
		"off":             {[]string{"--packages", "off"}, "pip install cell-demo", "(--packages)"},
		"no code":         {[]string{"--code-packages", "off"}, "uv pip install cell-demo", "(--code-packages off). The session's caller can install them."},
		"a list for code": {[]string{"--code-packages", "allowlist", "--package-allow", "cell-demo"}, "pip install cell-demo", `"cell-needed" is not on this`},
		"a list for all":  {[]string{"--packages", "allowlist"}, "pip install cell-demo", `"cell-demo" is not on this`},
		"hashes":          {[]string{"--packages", "hashes"}, "pip install cell-demo", "--hash=sha256"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, newHome(t), append([]string{"--package-index", p.index()}, test.flags...)...)
			id := s.session(t, client.CreateSession{})
			try(t, s, id, test.line, test.words)
			// For an installed package, code and callers get a normal answer under every policy.
			if got := s.must(t, id, "!pip install 'numpy>=1' json"); !strings.Contains(got, "already satisfied: numpy") {
				t.Errorf("pip with an installed package: got %s, want \"already satisfied: numpy\"", got)
			}
			if r, err := s.Install(t.Context(), id, client.InstallPackages{Requirements: []string{"numpy"}}); err != nil || len(r.Present) != 1 || r.Present[0].Name != "numpy" {
				t.Errorf("a caller's request for an installed package: got %+v, %v; want numpy as present", r, err)
			}
			if name == "no code" {
				try(t, s, id, "pip uninstall -y tabulate", "(--code-packages off)")
				s.install(t, id, "cell-demo")
			}
		})
	}
}

func TestAWheelInTheSandboxIsInstalledWithoutTheServer(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t), "--packages", "off")
	id := s.session(t, client.CreateSession{})
	file, content := wheel(t, "cell-own", "1.0", nil)
	s.write(t, id, file, string(content))
	s.must(t, id, "import subprocess, sys; subprocess.run([sys.executable, '-m', 'pip', 'install', './"+file+"'], check=True)")
	if got := s.line(t, id, "python3 -c 'import cell_own; print(cell_own.__version__)'"); got != "1.0\n" {
		t.Errorf("a command prints %q, want %q", got, "1.0\n")
	}
	if got := s.must(t, id, "!pip uninstall -y cell-own"); !strings.Contains(got, "Successfully uninstalled cell-own-1.0") {
		t.Errorf("the removal prints %s, want \"Successfully uninstalled cell-own-1.0\"", got)
	}
}

// Code can bypass the image's pip, and write any bytes to the socket for requests.
func TestHostilePackageRequestsAreAnsweredAndLimited(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil)
	s := serve(t, newHome(t), "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `import socket, json
def say(data, wait=40):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(wait)
        s.connect("/run/cellhold/packages")
        try:
            s.sendall(data)
            return b"".join(iter(lambda: s.recv(65536), b"")).decode()
        except OSError as e:
            return "ended"
def ask(**request): return say(json.dumps(request).encode() + b"\n")`)
	for code, want := range map[string]string{
		`ask(requirements=["--index-url=http://x/"])`:              "Invalid requirement",
		`ask(requirements=["a @ file:///etc/passwd"])`:             "not from a URL",
		`ask(remove=["--all"])`:                                    "is not the name of a package",
		`ask(requirements=["cell-x%d" % i for i in range(301)])`:   "the limit is 300",
		`ask(requirements=["cell-x==%d" % i for i in range(301)])`: "the limit is 300",
		`ask(requirements=["a"] * 3000)`:                           "",
		`say(b"[" * 1000 + b"\n")`:                                 "",
		`say(b"x" * 300000 + b"\n")`:                               "",
		`ask()`:                                                    "The request contains no package",
		`ask(file="-r /etc/passwd\n")`:                             "which callers cannot set",
		`[socket.socket(socket.AF_UNIX).connect("/run/cellhold/packages") for i in range(3)] and ask(requirements=["json"])`: "part of Python",
	} {
		if got := s.must(t, id, code); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %q", code, got, want)
		}
	}
	if got := s.must(t, id, "!pip install cell-demo"); !strings.Contains(got, "Successfully installed cell-demo-1.0") {
		t.Errorf("after the hostile requests: got %s, want cell-demo-1.0", got)
	}
	for _, at := range p.requests() {
		if strings.Contains(at, "cell-x") {
			t.Errorf("the index got the request %s, want no request for cell-x", at)
		}
	}
}

func TestAnInstallationByCodeFailsWhenTheServerEndsAndWorksWithTheNextServer(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil)
	p.hold = make(chan struct{})
	home := newHome(t)
	s := serve(t, home, "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	cell, err := s.Submit(t.Context(), id, client.Code{Code: "!pip install cell-demo", Timeout: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	p.awaitRequest(t, "/files/cell-demo/")
	s.signal(t, syscall.SIGKILL)
	close(p.hold)
	p.mu.Lock()
	p.hold = nil
	p.mu.Unlock()
	next := serve(t, home, "--package-index", p.index())
	done, err := next.Wait(t.Context(), cell.Session, cell.ID)
	if err != nil || done.Status != cellhold.StatusOK || !strings.Contains(text(done), "ERROR: ") || !strings.Contains(text(done), "again") {
		t.Errorf("the interrupted installation: got %s and %s, %v; want ok, and an error that says to run it again", done.Status, text(done), err)
	}
	if got := next.must(t, id, "!pip install cell-demo"); !strings.Contains(got, "cell-demo-1.0") && !strings.Contains(got, "cell-demo (1.0)") {
		t.Errorf("a new installation with the next server: got %s, want cell-demo 1.0", got)
	}
}

func TestCodeInstallsInRestoredForkedAndHibernatedSessions(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	for _, name := range []string{"cell-ready", "cell-awake", "cell-forked"} {
		p.wheel(t, name, "1.0", nil)
	}
	s := serve(t, newHome(t), "--package-index", p.index(), "--no-templates=false")
	s.awaitReady(t, 1)
	id := s.session(t, client.CreateSession{})
	install := func(id cellhold.SessionID, name string) {
		t.Helper()
		if got := s.must(t, id, "!pip install "+name); !strings.Contains(got, "Successfully installed "+name+"-1.0") {
			t.Errorf("%s: got %s, want \"Successfully installed\"", name, got)
		}
	}
	install(id, "cell-ready")
	s.hibernate(t, id)
	install(id, "cell-awake")
	forks, err := s.Fork(t.Context(), id, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	install(forks[0].ID, "cell-forked")
	if lock := s.lockOf(t, forks[0].ID); strings.Count(lock, "==1.0") != 3 {
		t.Errorf("got the fork's lock\n%s\nwant 3 packages", lock)
	}
	if lock := s.lockOf(t, id); strings.Count(lock, "==1.0") != 2 {
		t.Errorf("got the parent's lock\n%s\nwant 2 packages", lock)
	}
}

func TestASessionWithEgressInstallsThroughTheServerFirst(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil)
	o := newInternetFixture(t)
	for name, test := range map[string]struct{ flags, line, want string }{
		"by the server": {"callers", "pip install cell-demo", "Successfully installed cell-demo-1.0"},
		"denied":        {"off", "pip install --retries 0 cell-demo", "Trying the session's own network access."},
		"its own index": {"callers", "pip install --retries 0 -i http://a.example.org/simple cell-demo", "The server neither checks nor records it."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, newHome(t), append(o.flags("--egress", "allowlist", "--max-egress", "allowlist", "--egress-host", "a.example.org"), "--package-index", p.index(), "--code-packages", test.flags)...)
			id := s.session(t, client.CreateSession{})
			if got := s.must(t, id, "!"+test.line); !strings.Contains(strings.Join(strings.Fields(got), " "), test.want) {
				t.Errorf("%s:\n%s\nwant %q", test.line, got, test.want)
			}
		})
	}
}

func TestConcurrentInstallationsByCommandsAndCallersSucceed(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	s := serve(t, newHome(t), "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	var all sync.WaitGroup
	for i := range 3 {
		mine, theirs := fmt.Sprintf("cell-mine%d", i), fmt.Sprintf("cell-theirs%d", i)
		p.wheel(t, mine, "1.0", nil)
		p.wheel(t, theirs, "1.0", nil)
		all.Go(func() {
			if _, err := s.Install(t.Context(), id, client.InstallPackages{Requirements: []string{mine}}); err != nil {
				t.Errorf("install %s: got %v, want no error", mine, err)
			}
		})
		all.Go(func() {
			if c := s.command(t, id, client.Run{Line: "pip install " + theirs}); c.Status != cellhold.CommandOK {
				t.Errorf("pip install %s: got %s and %s %s, want ok", theirs, c.Status, c.Stdout.Text, c.Stderr.Text)
			}
		})
	}
	all.Wait()
	if lock := s.lockOf(t, id); strings.Count(lock, "==1.0") != 6 {
		t.Errorf("got the lock\n%s\nwant 6 packages", lock)
	}
}

func TestAScriptOfRunInstallsPackages(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil)
	script := filepath.Join(t.TempDir(), "script.py")
	code := "import os\nos.system('pip install cell-demo')\nimport cell_demo\nprint('version', cell_demo.__version__)\n"
	if err := os.WriteFile(script, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[string]string{"callers": "version 1.0", "off": "--code-packages off"} {
		cmd := exec.CommandContext(t.Context(), binary(t), "--home", newHome(t), "run", "--package-index", p.index(), "--code-packages", mode, script)
		if out, _ := cmd.CombinedOutput(); !strings.Contains(strings.Join(strings.Fields(string(out)), " "), want) {
			t.Errorf("%s: got\n%s\nwant %q", mode, out, want)
		}
	}
}

func TestAnInterruptDoesNotEndAnInstallationOfTheServer(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil)
	hold := make(chan struct{})
	p.hold = hold
	s := serve(t, newHome(t), "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	cell, err := s.Submit(t.Context(), id, client.Code{Code: "!pip install cell-demo"})
	if err != nil {
		t.Fatal(err)
	}
	p.awaitRequest(t, "/files/cell-demo/")
	if err := s.Interrupt(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Wait(t.Context(), id, cell.ID); err != nil || done.Status != cellhold.StatusInterrupted {
		t.Errorf("the first cell: got %s and %s, %v; want interrupted", done.Status, text(done), err)
	}
	next, err := s.Submit(t.Context(), id, client.Code{Code: "!pip install cell-demo"}) // waits for the first installation
	if err != nil {
		t.Fatal(err)
	}
	s.awaitText(t, next)
	close(hold)
	if done, err := s.Wait(t.Context(), id, next.ID); err != nil || !strings.Contains(text(done), "already satisfied: cell-demo (1.0)") {
		t.Errorf("the second cell: got %s, %v; want \"already satisfied: cell-demo (1.0)\"", text(done), err)
	}
}
