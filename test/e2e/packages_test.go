package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// wheel makes a pure-Python wheel. Its module has the version in __version__. more are additional files, and
// metadata are additional lines such as "Requires-Dist: …".
func wheel(t testing.TB, name, version string, more map[string]string, metadata ...string) (file string, content []byte) {
	t.Helper()
	module := strings.ReplaceAll(name, "-", "_")
	info := module + "-" + version + ".dist-info"
	files := map[string]string{
		module + "/__init__.py": fmt.Sprintf("__version__ = %q\n", version),
		info + "/METADATA":      "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n" + strings.Join(metadata, "\n") + "\n",
		info + "/WHEEL":         "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
	}
	for at, text := range more {
		files[at] = text
	}
	var record strings.Builder
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	add := func(at, text string) {
		w, err := z.Create(at)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for at, text := range files {
		sum := sha256.Sum256([]byte(text))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", at, base64.RawURLEncoding.EncodeToString(sum[:]), len(text))
		add(at, text)
	}
	add(info+"/RECORD", record.String()+info+"/RECORD,,\n")
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return module + "-" + version + "-py3-none-any.whl", b.Bytes()
}

// pypi is a package index for one test. It listens on the host's loopback.
type pypi struct {
	*httptest.Server
	html bool // serve pages as HTML instead of JSON

	mu    sync.Mutex
	files map[string]map[string][]byte // by project and file
	wrong map[string][]byte            // wrong content by file, which is sent instead of the file
	hold  chan struct{}                // if it is not nil, file requests wait until it is closed
	asked []string                     // requested paths
}

func newPyPI(t testing.TB) *pypi {
	t.Helper()
	p := &pypi{files: map[string]map[string][]byte{}, wrong: map[string][]byte{}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// add publishes a file of a project.
func (p *pypi) add(project, file string, content []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.files[project] == nil {
		p.files[project] = map[string][]byte{}
	}
	p.files[project][file] = content
}

// wheel makes and publishes a wheel, and returns its sha256.
func (p *pypi) wheel(t testing.TB, name, version string, more map[string]string, metadata ...string) string {
	t.Helper()
	file, content := wheel(t, name, version, more, metadata...)
	p.add(name, file, content)
	return digest(content)
}

// digest returns the sha256 of b in hexadecimal.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (p *pypi) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.URL.Path)
	hold := p.hold
	p.mu.Unlock()
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	p.mu.Lock()
	files := p.files[parts[1]]
	p.mu.Unlock()
	switch {
	case files == nil:
		http.NotFound(w, r)
	case parts[0] == "simple":
		p.page(w, parts[1], files)
	case len(parts) == 3:
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		content, there := files[parts[2]]
		if !there {
			http.NotFound(w, r)
			return
		}
		if wrong := p.wrong[parts[2]]; wrong != nil {
			content = wrong
		}
		_, _ = w.Write(content)
	}
}

// page writes the index page of a project.
func (p *pypi) page(w http.ResponseWriter, project string, files map[string][]byte) {
	if p.html {
		w.Header().Set("Content-Type", "text/html")
		for name, content := range files {
			fmt.Fprintf(w, "<a href=\"../../files/%s/%s#sha256=%s\">%s</a><br>\n", project, name, digest(content), name)
		}
		return
	}
	page := map[string]any{"meta": map[string]string{"api-version": "1.0"}, "name": project}
	var list []map[string]any
	for name, content := range files {
		list = append(list, map[string]any{"filename": name, "url": p.URL + "/files/" + project + "/" + name, "hashes": map[string]string{"sha256": digest(content)}})
	}
	page["files"] = list
	w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
	_ = json.NewEncoder(w).Encode(page)
}

func (p *pypi) index() string { return p.URL + "/simple/" }

// requests returns the requested paths so far.
func (p *pypi) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// install installs packages. The installation must succeed.
func (s *server) install(t testing.TB, id cellhold.SessionID, requirements ...string) cellhold.Installation {
	t.Helper()
	r, err := s.Install(t.Context(), id, client.InstallPackages{Requirements: requirements})
	if err != nil {
		t.Fatalf("install %q: %v", requirements, err)
	}
	return r
}

// refuse tries to install packages. The installation must fail with the kind, and with words in its message.
func (s *server) refuse(t testing.TB, id cellhold.SessionID, kind cellhold.Kind, words string, requirements ...string) {
	t.Helper()
	r, err := s.Install(t.Context(), id, client.InstallPackages{Requirements: requirements})
	if cellhold.KindOf(err) != kind || !strings.Contains(fmt.Sprint(err), words) {
		t.Errorf("install %q: got %+v, %v; want kind %s with %q", requirements, r, err, kind, words)
	}
}

// change returns a change as NAME:BEFORE>AFTER.
func change(c cellhold.PackageChange) string { return c.Name + ":" + c.Before + ">" + c.After }

// changesOf returns the changes of an installation as one text.
func changesOf(r cellhold.Installation) string {
	var list []string
	for _, c := range r.Changes {
		list = append(list, change(c))
	}
	return strings.Join(list, " ")
}

func TestPackagesAreInstalledUpgradedAndRemovedInOneSessionOnly(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-needed", "0.1", nil)
	p.wheel(t, "cell-extra", "3.0", nil)
	old := []string{"Requires-Dist: cell-needed", "Requires-Dist: requests", `Requires-Dist: cell-extra; extra == "more"`, "Provides-Extra: more"}
	sum := p.wheel(t, "cell-demo", "1.0", nil, old...)
	p.wheel(t, "cell-demo", "2.0", nil, old...)
	s := serve(t, newHome(t), "--package-index", p.index())
	mine, other := s.session(t, client.CreateSession{}), s.session(t, client.CreateSession{})

	began := time.Now()
	r := s.install(t, mine, "Cell_Demo[more] == 1.0")
	t.Logf("the first installation took %v", time.Since(began))
	if got := changesOf(r); got != "cell-demo:>1.0 cell-extra:>3.0 cell-needed:>0.1" || len(r.Imports) == 0 || r.Imports[0] != "cell_demo" || len(r.Stale) > 0 || len(r.Hooks) > 0 {
		t.Errorf("report %q, imports %q, %+v; want 3 changes, the import cell_demo first, no stale modules and no hooks", got, r.Imports, r)
	}
	if got := s.must(t, mine, "import cell_demo, cell_needed, cell_extra; cell_demo.__version__"); got != "'1.0'" {
		t.Errorf("version %s, want %s", got, "'1.0'")
	}
	if got := s.must(t, other, "import importlib.util as u; u.find_spec('cell_demo') is None"); got != "True" {
		t.Errorf("the package is absent in another session: %s, want True", got)
	}

	began = time.Now()
	r = s.install(t, mine, "cell-demo>=2")
	t.Logf("the upgrade took %v", time.Since(began))
	if changesOf(r) != "cell-demo:1.0>2.0" || len(r.Stale) != 1 || r.Stale[0] != (cellhold.StaleModule{Kernel: "python3", Package: "cell-demo", Module: "cell_demo"}) ||
		len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "cell-demo 1.0") {
		t.Errorf("upgrade: %q, stale %+v, warnings %q; want cell-demo:1.0>2.0, the stale module cell_demo and one warning", changesOf(r), r.Stale, r.Warnings)
	}
	if r = s.install(t, mine, "cell-demo"); changesOf(r) != "" || len(r.Imports) == 0 {
		t.Errorf("a second installation reports %+v, want 0 changes and the imports", r)
	}
	s.install(t, mine, "cell-demo==1.0")
	lock, err := s.Lock(t.Context(), mine)
	if err != nil || !strings.Contains(lock, "cell-demo==1.0 \\\n    --hash=sha256:"+sum) || !strings.Contains(lock, "cell-needed==0.1") {
		t.Errorf("got the lock (%v)\n%s\nwant cell-demo==1.0 with its hash, and cell-needed==0.1", err, lock)
	}
	if r, err = s.Install(t.Context(), other, client.InstallPackages{File: lock}); err != nil || changesOf(r) != "cell-demo:>1.0 cell-extra:>3.0 cell-needed:>0.1" {
		t.Errorf("an installation from the lock: got %q, %v; want 3 changes", changesOf(r), err)
	}
	if again, err := s.Lock(t.Context(), other); again != lock {
		t.Errorf("the lock after an installation from a lock: got (%v)\n%s\nwant\n%s", err, again, lock)
	}
	if r, err = s.RemovePackage(t.Context(), mine, "Cell.Extra"); err != nil || changesOf(r) != "cell-extra:3.0>" || len(r.Stale) != 1 {
		t.Errorf("the removal: got %+v, %v; want cell-extra:3.0> and a stale module", r, err)
	}
	if _, err = s.RemovePackage(t.Context(), mine, "cell-extra"); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("the removal of a package that is not installed: got %v, want kind not_found", err)
	}
	if list, err := s.Packages(t.Context(), mine); err != nil || len(list) != 2 {
		t.Errorf("got the packages %+v, %v; want 2", list, err)
	}
}

func TestCodeHasNoNetworkAccessDuringAnInstallation(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil)
	p.hold = make(chan struct{})
	canary := newPyPI(t)
	s := serve(t, newHome(t), "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	done := make(chan error, 1)
	go func() {
		_, err := s.Install(t.Context(), id, client.InstallPackages{Requirements: []string{"cell-demo"}})
		done <- err
	}()
	p.awaitRequest(t, "/files/cell-demo/")
	// uv is running and waits for the file. User code searches for uv's network access. It finds the port, but not
	// the secret path, and it reaches no other host.
	code := `
import os, socket, urllib.request, urllib.error
found, secrets, reached = [], [], []
for line in open('/proc/net/tcp').read().splitlines()[1:]:
    host, port = line.split()[1].split(':')
    if line.split()[3] == '0A':
        found.append(int(port, 16))
for pid in filter(str.isdigit, os.listdir('/proc')):
    for name in ('environ', 'cmdline', 'maps', 'fd', 'root', 'cwd'):
        try:
            at = f'/proc/{pid}/{name}'
            if name in ('fd', 'root', 'cwd'):
                text = ' '.join(os.listdir(at))
                if os.stat(f'/proc/{pid}').st_uid == 1001: secrets.append(at)
            else:
                text = open(at, errors='replace').read()
            if 'simple/' in text: secrets.append(at)
        except OSError: pass
for top, dirs, files in os.walk('/opt/cellhold'):
    if 'install-' in top and files: secrets.append(top)
answers = set()
for port in found:
    for path in ('/simple/cell-demo/', '/', '/file/0/cell_demo-1.0-py3-none-any.whl'):
        try: answers.add(urllib.request.urlopen(f'http://127.0.0.1:{port}{path}', timeout=5).status)
        except urllib.error.HTTPError as e: answers.add(e.code)
        except OSError: break # a port of the kernel, which does not speak HTTP
for host, port in TARGETS:
    try: socket.create_connection((host, port), 3); reached.append(host)
    except OSError: pass
(len(found) > 0, secrets, sorted(map(str, answers)), reached)`
	host, port, _ := strings.Cut(strings.TrimPrefix(canary.URL, "http://"), ":")
	code = strings.Replace(code, "TARGETS", fmt.Sprintf("[(%q, %s), ('169.254.169.254', 80), ('1.1.1.1', 443), ('localhost', %s)]", host, port, port), 1)
	// Before the result, the kernel warns about the connection to its port.
	if got := s.must(t, id, code); !strings.HasSuffix(got, "(True, [], ['404'], [])") {
		t.Errorf("user code during an installation: got %s, want a port that answers 404, and no secret and no other host", got)
	}
	close(p.hold)
	if err := <-done; err != nil {
		t.Errorf("the installation: got %v, want no error", err)
	}
	if got := canary.requests(); len(got) > 0 {
		t.Errorf("another host got the requests %q, want 0", got)
	}
	if got := s.must(t, id, "import cell_demo; cell_demo.__version__"); got != "'1.0'" {
		t.Errorf("version %s, want %s", got, "'1.0'")
	}
}

// awaitRequest waits for a request whose path starts with a text.
func (p *pypi) awaitRequest(t testing.TB, start string) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if slices.ContainsFunc(p.requests(), func(at string) bool { return strings.HasPrefix(at, start) }) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("got the requests %q within a minute, want one for %s", p.requests(), start)
		}
	}
}

func TestEachPackagePolicyRefusesOtherRequests(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-needed", "0.1", nil)
	sum := p.wheel(t, "cell-demo", "1.0", nil, "Requires-Dist: cell-needed")
	lone := p.wheel(t, "cell-alone", "1.0", nil)
	p.add("cell-source", "cell_source-1.0.tar.gz", []byte("no archive"))

	t.Run("off", func(t *testing.T) {
		t.Parallel()
		s := serve(t, newHome(t), "--package-index", p.index(), "--packages", "off")
		s.refuse(t, s.session(t, client.CreateSession{}), cellhold.Denied, "--packages", "cell-alone")
	})
	t.Run("allowlist", func(t *testing.T) {
		t.Parallel()
		s := serve(t, newHome(t), "--package-index", p.index(), "--packages", "allowlist", "--package-allow", "Cell_Demo,cell-al*")
		id := s.session(t, client.CreateSession{})
		s.refuse(t, id, cellhold.Denied, `"cell-needed" is not on this`, "cell-needed")
		s.refuse(t, id, cellhold.Denied, `"cell-needed" is not on this`, "cell-demo")
		if r := s.install(t, id, "cell-alone"); changesOf(r) != "cell-alone:>1.0" {
			t.Errorf("the allowed installation reports %+v, want cell-alone:>1.0", r)
		}
	})
	t.Run("hashes", func(t *testing.T) {
		t.Parallel()
		s := serve(t, newHome(t), "--package-index", p.index(), "--packages", "hashes")
		id := s.session(t, client.CreateSession{})
		s.refuse(t, id, cellhold.Denied, "--hash=sha256", "cell-alone")
		s.refuse(t, id, cellhold.Denied, "--hash=sha256", "cell-alone>=1 --hash=sha256:"+lone)
		s.refuse(t, id, cellhold.Invalid, "installer failed", "cell-alone==1.0 --hash=sha256:"+sum)
		if r := s.install(t, id, "cell-alone==1.0 --hash=sha256:"+lone); changesOf(r) != "cell-alone:>1.0" {
			t.Errorf("the installation with a hash reports %+v, want cell-alone:>1.0", r)
		}
	})
	t.Run("open", func(t *testing.T) {
		t.Parallel()
		s := serve(t, newHome(t), "--package-index", p.index())
		id := s.session(t, client.CreateSession{})
		s.refuse(t, id, cellhold.Unsupported, "only source", "cell-source")
		s.refuse(t, id, cellhold.Invalid, "cell-missing", "cell-missing")
		for _, hostile := range []string{"--index-url=http://x/", "-e .", "git+https://x/y", "./x.whl", "/etc/passwd", "a @ http://x/a.whl", "a\n--no-index", "-r /etc/passwd", "a; import os", "файл"} {
			s.refuse(t, id, cellhold.Invalid, "", hostile)
		}
		if _, err := s.Install(t.Context(), id, client.InstallPackages{File: "--extra-index-url http://x/\ncell-alone\n"}); cellhold.KindOf(err) != cellhold.Invalid {
			t.Errorf("an option in a file: got %v, want kind invalid", err)
		}
	})
}

func TestAFileWithAWrongHashIsNotInstalled(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.html = true
	p.wheel(t, "cell-demo", "1.0", nil)
	p.wheel(t, "cell-hook", "1.0", map[string]string{"cell_hook.pth": "import os\n"})
	_, evil := wheel(t, "cell-demo", "1.0", map[string]string{"cell_demo/evil.py": ""})
	p.wrong["cell_demo-1.0-py3-none-any.whl"] = evil
	s := serve(t, newHome(t), "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	s.refuse(t, id, cellhold.Denied, "differs", "cell-demo")
	if got := s.must(t, id, "import importlib.util as u; u.find_spec('cell_demo') is None"); got != "True" {
		t.Errorf("the package is absent: %s, want True", got)
	}
	// The report names files that run code in each later Python process (.pth).
	r := s.install(t, id, "cell-hook")
	if len(r.Hooks) != 1 || !strings.HasSuffix(r.Hooks[0].Path, "/cell_hook.pth") || r.Hooks[0].Text != "import os\n" || len(r.Warnings) != 1 {
		t.Errorf("got the hooks %+v and the warnings %q, want cell_hook.pth with its text, and one warning", r.Hooks, r.Warnings)
	}
}

func TestAPrivateNameNeverComesFromAnotherIndex(t *testing.T) {
	t.Parallel()
	private, public, folder := newPyPI(t), newPyPI(t), t.TempDir()
	public.wheel(t, "corp-tool", "99.0", nil)
	public.wheel(t, "corp-other", "99.0", nil)
	public.wheel(t, "cell-demo", "1.0", nil)
	public.wheel(t, "cell-folder", "99.0", nil)
	private.wheel(t, "corp-tool", "1.0", nil)
	file, content := wheel(t, "cell-folder", "1.0", nil)
	if err := os.WriteFile(filepath.Join(folder, file), content, 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, newHome(t), "--package-index", public.index(), "--package-pin", "corp-*="+private.index(), "--package-folder", folder)
	id := s.session(t, client.CreateSession{})
	if r := s.install(t, id, "corp-tool", "cell-demo", "cell-folder"); changesOf(r) != "cell-demo:>1.0 cell-folder:>1.0 corp-tool:>1.0" {
		t.Errorf("the installation reports %q, want cell-demo, cell-folder and corp-tool in version 1.0", changesOf(r))
	}
	s.refuse(t, id, cellhold.Invalid, "corp-other", "corp-other")
	for _, at := range public.requests() {
		if strings.Contains(at, "corp-") {
			t.Errorf("the public index got the request %s, want no request for corp-", at)
		}
	}
	private.Close() // the server must not ask the public index instead
	s.refuse(t, id, cellhold.Unavailable, "could not be queried", "corp-tool==99.0")
}

func TestWheelsOfAFolderAreInstalledOffline(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{"cell-demo", "cell-needed"} {
		file, content := wheel(t, name, "1.0", nil, map[string][]string{"cell-demo": {"Requires-Dist: cell-needed"}}[name]...)
		if err := os.WriteFile(filepath.Join(folder, file), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, newHome(t), "--package-folder", folder, "--package-offline")
	id := s.session(t, client.CreateSession{})
	if r := s.install(t, id, "cell-demo"); changesOf(r) != "cell-demo:>1.0 cell-needed:>1.0" {
		t.Errorf("the installation reports %q, want cell-demo and cell-needed", changesOf(r))
	}
	lock, err := s.Lock(t.Context(), id)
	if err != nil || strings.Count(lock, "--hash=sha256:") != 2 {
		t.Errorf("got the lock (%v)\n%s\nwant 2 hashes", err, lock)
	}
}

func TestAnInstallationEndsAtItsTimeoutAndOnAFullDisk(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil)
	large := strings.Repeat("0123456789abcdef", 4<<20)
	p.wheel(t, "cell-large", "1.0", map[string]string{"cell_large/data.py": large})
	s := serve(t, newHome(t), "--package-index", p.index(), "--package-timeout", "15s")
	id := s.session(t, client.CreateSession{Limits: cellhold.Limits{Disk: 48 << 20}})
	s.refuse(t, id, cellhold.Exhausted, "disk is full", "cell-large")
	p.mu.Lock()
	p.hold = make(chan struct{})
	p.mu.Unlock()
	began := time.Now()
	s.refuse(t, id, cellhold.Unavailable, "limit of 15s", "cell-demo")
	if took := time.Since(began); took > 35*time.Second {
		t.Errorf("the installation ended after %v, want at most 35 s", took)
	}
	close(p.hold)
	if got := s.must(t, id, "import subprocess; [p for p in subprocess.run(['ps', '-e'], capture_output=True, text=True).stdout.split() if p == 'uv'] if __import__('shutil').which('ps') else []"); got != "[]" {
		t.Errorf("uv continues after the timeout: %s, want %s", got, "[]")
	}
	// Concurrent installations run one after the other. All succeed while a cell runs.
	cell, err := s.Submit(t.Context(), id, client.Code{Code: "print('on', flush=True)\nimport time\nwhile True: time.sleep(0.01)"})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitText(t, cell)
	p.mu.Lock()
	p.hold = nil
	p.mu.Unlock()
	p.wheel(t, "cell-second", "1.0", nil)
	var both sync.WaitGroup
	for _, name := range []string{"cell-demo", "cell-second"} {
		both.Go(func() {
			if _, err := s.Install(t.Context(), id, client.InstallPackages{Requirements: []string{name}}); err != nil {
				t.Errorf("install %s: got %v, want no error", name, err)
			}
		})
	}
	both.Wait()
	if err := s.Interrupt(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if got := s.must(t, id, "import cell_demo, cell_second; 1"); got != "1" {
		t.Errorf("got %s, want 1", got)
	}
}

func TestPackagesOfTheImageCanBeChanged(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "tabulate", "99.0", nil)
	// The package has a file in the directory of another package, which is part of the image.
	p.wheel(t, "cell-plugin", "1.0", map[string]string{"matplotlib/cell_plugin.py": "x = 1\n"})
	s := serve(t, newHome(t), "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import tabulate")
	r := s.install(t, id, "tabulate>=99")
	if len(r.Changes) != 1 || r.Changes[0].Before == "" || r.Changes[0].After != "99.0" || len(r.Stale) != 1 {
		t.Errorf("the upgrade reports %+v, want tabulate 99.0 and a stale module", r)
	}
	if r = s.install(t, id, "cell-plugin"); changesOf(r) != "cell-plugin:>1.0" {
		t.Errorf("the installation of the plugin reports %+v, want cell-plugin:>1.0", r)
	}
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if got := s.must(t, id, "import tabulate, matplotlib.cell_plugin as m; tabulate.__version__, m.x"); got != "('99.0', 1)" {
		t.Errorf("after the restart: %s, want %s", got, "('99.0', 1)")
	}
	if r, err := s.RemovePackage(t.Context(), id, "tabulate"); err != nil || changesOf(r) != "tabulate:99.0>" {
		t.Errorf("the removal: got %+v, %v; want tabulate:99.0>", r, err)
	}
	other := s.session(t, client.CreateSession{})
	if got := s.must(t, other, "import tabulate; tabulate.__version__ == '99.0'"); got != "False" {
		t.Errorf("another session has the version 99.0: %s, want False", got)
	}
}

func TestSourceIsBuiltIfTheOperatorAllowsIt(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	file, content := wheel(t, "cell-built", "1.0", nil)
	p.add("cell-built", "cell_built-1.0.tar.gz", sdist(t, "cell_built-1.0", map[string]string{
		"PKG-INFO":       "Metadata-Version: 2.1\nName: cell-built\nVersion: 1.0\n",
		"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
		"backend.py": fmt.Sprintf(`import base64, os
def build_wheel(directory, settings=None, metadata=None):
    with open(os.path.join(directory, %[1]q), "wb") as f: f.write(base64.b64decode(%[2]q))
    with open("/tmp/built-as", "w") as f: f.write(str(os.getuid()))
    if os.fork() == 0:  # the end of the installation must end this process
        os.setsid()
        os.closerange(0, 1024)
        import time
        while True: time.sleep(1)
    return %[1]q
`, file, base64.StdEncoding.EncodeToString(content)),
	}))
	s := serve(t, newHome(t), "--package-index", p.index(), "--package-source", "--package-timeout", "1m")
	id := s.session(t, client.CreateSession{})
	if r := s.install(t, id, "cell-built"); changesOf(r) != "cell-built:>1.0" {
		t.Errorf("the installation from source reports %+v, want cell-built:>1.0", r)
	}
	left := "import os, cell_built; open('/tmp/built-as').read(), [p for p in os.listdir('/proc') if p.isdigit() and os.stat('/proc/' + p).st_uid == 1001]"
	if got := s.must(t, id, left); got != "('1001', [])" {
		t.Errorf("(user of the build, processes left) is %s, want %s", got, "('1001', [])")
	}
}

// sdist makes a source distribution: a .tar.gz of files below the folder top.
func sdist(t testing.TB, top string, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		err := w.WriteHeader(&tar.Header{Name: top + "/" + name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAScriptRunsWithAPackage(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-demo", "1.0", nil)
	script := filepath.Join(t.TempDir(), "script.py")
	if err := os.WriteFile(script, []byte("import cell_demo\nprint('version', cell_demo.__version__)\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary(t), "--home", newHome(t), "run", "--package-index", p.index(), "--with", "cell-demo>=1,<2", script)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "version 1.0") {
		t.Errorf("got %v\n%s\nwant \"version 1.0\"", err, out)
	}
}

func TestTheCommandLineInstallsLocksAndRemoves(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	sum := p.wheel(t, "cell-demo", "1.0", nil)
	s := serve(t, newHome(t), "--package-index", p.index())
	id := string(s.session(t, client.CreateSession{}))
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"cell-demo>=1,<2", "--lock"}, "+ cell-demo 1.0"},
		{[]string{"--lock"}, "cell-demo==1.0 \\\n    --hash=sha256:" + sum},
		{[]string{"cell-demo"}, "all packages are installed already"},
		{[]string{"--remove", "cell-demo"}, "- cell-demo 1.0"},
	} {
		args := append([]string{"--home", s.home, "install", "--url", s.url, id}, step.args...)
		if out, err := exec.CommandContext(t.Context(), binary(t), args...).CombinedOutput(); err != nil || !strings.Contains(string(out), step.want) {
			t.Errorf("install %q: got %v\n%s\nwant %q", step.args, err, out, step.want)
		}
	}
}

func TestTheArticlesAPIInstallsAPackage(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	// The module is cell_demo, and the package is cell-demo.
	file, content := wheel(t, "cell-demo", "1.0", nil)
	p.add("cell-demo", file, content)
	p.wheel(t, "cell-broken", "1.0", map[string]string{"cell_broken/__init__.py": "raise RuntimeError('no')\n"})
	s := serve(t, newHome(t), "--auth", "off", "--package-index", p.index())
	if status, a := s.post(t, "/install_package", js, `{"user_id": "u", "package_name": "cell-demo"}`); status != 404 {
		t.Errorf("install without a session: got %d %v, want 404", status, a)
	}
	s.post(t, "/start_session", form, "user_id=u")
	status, a := s.post(t, "/install_package", js, `{"user_id": "u", "package_name": "cell-demo"}`)
	log, _ := a["output"].(string)
	if status != 200 || a["message"] != "Successfully installed and imported cell-demo" || !strings.Contains(log, "cell-demo==1.0") {
		t.Errorf("install: got %d %v, want 200, the message and cell-demo==1.0", status, a)
	}
	if strings.Contains(log, "127.0.0.1") {
		t.Errorf("got the log %s, want no address of the index proxy in the sandbox", log)
	}
	if status, a = s.post(t, "/execute", js, `{"user_id": "u", "code": "cell_demo.__version__"}`); status != 200 || a["output"] != "'1.0'" {
		t.Errorf("execute: got %d %v, want 200 and the output '1.0'", status, a)
	}
	for _, bad := range []string{"cell-missing", "cell-broken", "--help", "cell-demo==7"} {
		body, _ := json.Marshal(map[string]string{"user_id": "u", "package_name": bad})
		if status, a = s.post(t, "/install_package", js, string(body)); status != 500 || !strings.HasPrefix(detail(a), "Failed to install "+bad+": ") {
			t.Errorf("%s: got %d %v, want 500 with \"Failed to install %s: \"", bad, status, a, bad)
		}
	}
	if status, a = s.post(t, "/install_package", js, `{"user_id": "u"}`); status != 422 {
		t.Errorf("install without a name: got %d %v, want 422", status, a)
	}
}

func TestAPackageComesFromTheIndexThatTheHostsToolsUse(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	r, err := s.Install(ctx, id, client.InstallPackages{Requirements: []string{"iniconfig"}})
	if err != nil || len(r.Changes) != 1 || r.Changes[0].Name != "iniconfig" {
		t.Fatalf("got %+v, %v; want one change of iniconfig", r, err)
	}
	if got := s.must(t, id, "import iniconfig; iniconfig.__name__"); got != "'iniconfig'" {
		t.Errorf("got %s, want 'iniconfig'", got)
	}
	if lock, err := s.Lock(t.Context(), id); err != nil || !strings.Contains(lock, "iniconfig=="+r.Changes[0].After+" \\\n    --hash=sha256:") {
		t.Errorf("got the lock (%v)\n%s\nwant iniconfig with its version and hash", err, lock)
	}
}
