package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cellhold/client"
)

// namesIndex returns an index with packages whose modules have other names. The index also has packages with the names
// of these modules. A server that installs one of them is wrong.
func namesIndex(t testing.TB) *pypi {
	t.Helper()
	p := newPyPI(t)
	for name, module := range map[string]string{"pymupdf": "fitz", "pycryptodome": "Crypto", "pyserial": "serial", "opencv-python-headless": "cv2"} {
		p.wheel(t, name, "1.0", map[string]string{module + "/__init__.py": "who = '" + name + "'\n"})
	}
	for _, wrong := range []string{"fitz", "crypto", "serial", "opencv-python", "cv2", "json"} {
		p.wheel(t, wrong, "9.0", nil)
	}
	return p
}

func TestAModulesNameFindsItsPackage(t *testing.T) {
	t.Parallel()
	p := namesIndex(t)
	s := serve(t, newHome(t), "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	for _, test := range []struct{ ask, changes, imports, say string }{
		{"fitz>=1", "pymupdf:>1.0", "fitz", "The package pymupdf is used instead."},
		{"opencv-python", "opencv-python-headless:>1.0", "cv2", "libGL"},
		{"cv2", "", "cv2", "opencv-python-headless"},
		{"sklearn", "", "sklearn", "scikit-learn"},
		{"PIL", "", "PIL", "pillow"},
		{"sqlite3", "", "sqlite3", "sqlite3 is part of Python."},
		{"numpy>=1", "", "numpy", ""},
	} {
		r := s.install(t, id, test.ask)
		if changesOf(r) != test.changes || !slices.Contains(r.Imports, test.imports) || !strings.Contains(strings.Join(r.Warnings, " "), test.say) {
			t.Errorf("%s: %q, imports %q, warnings %q; want %q, %q, %q", test.ask, changesOf(r), r.Imports, r.Warnings, test.changes, test.imports, test.say)
		}
		if test.ask == "cv2" && r.Imports[0] != "cv2" { // the requested module must come first
			t.Errorf("%s: imports %q, want cv2 first", test.ask, r.Imports)
		}
		if len(r.Changes)+len(r.Present) == 0 && test.ask != "sqlite3" {
			t.Errorf("%s: got %+v, want a change or a present package", test.ask, r)
		}
	}
	if got := s.must(t, id, "!pip install Crypto"); !strings.Contains(got, "Successfully installed pycryptodome-1.0") || !strings.Contains(got, "Note: crypto is not the name of the package") {
		t.Errorf("pip: got %s, want pycryptodome-1.0 and a note about the name", got)
	}
	if got := s.must(t, id, "import fitz, cv2, Crypto; fitz.who, cv2.who, Crypto.who"); got != "('pymupdf', 'opencv-python-headless', 'pycryptodome')" {
		t.Errorf("got %s, want ('pymupdf', 'opencv-python-headless', 'pycryptodome')", got)
	}
}

func TestTheArticlesAPIAndRunFindAPackageByItsModule(t *testing.T) {
	t.Parallel()
	p := namesIndex(t)
	s := serve(t, newHome(t), "--auth", "off", "--package-index", p.index())
	s.post(t, "/start_session", form, "user_id=u")
	for name, want := range map[string]string{"serial": "pyserial", "sklearn": "scikit-learn", "json": "part of Python"} {
		body, err := json.Marshal(map[string]string{"user_id": "u", "package_name": name})
		if err != nil {
			t.Fatal(err)
		}
		status, a := s.post(t, "/install_package", js, string(body))
		if log, _ := a["output"].(string); status != 200 || a["message"] != "Successfully installed and imported "+name || !strings.Contains(log, want) {
			t.Errorf("%s: got %d %v, want 200, the message and %q in the output", name, status, a, want)
		}
	}
	script := filepath.Join(t.TempDir(), "script.py")
	if err := os.WriteFile(script, []byte("import fitz\nprint(fitz.who)\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary(t), "--home", newHome(t), "run", "--package-index", p.index(), "--with", "fitz", "--with", "yaml", script)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "pymupdf\n") || !strings.Contains(string(out), "not the name of the package") {
		t.Errorf("got %v\n%s\nwant pymupdf and a note about the name", err, out)
	}
}

func TestModulesThatFailedToImportAPackageAreReportedAsStale(t *testing.T) {
	t.Parallel()
	p := newPyPI(t)
	p.wheel(t, "cell-late", "1.0", nil)
	p.wheel(t, "cell-asked", "1.0", nil)
	s := serve(t, newHome(t), "--package-index", p.index())
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `%%writefile one.py
try:
    import cell_late
except ImportError:
    cell_late = None`)
	s.must(t, id, "%%writefile _looks.py\nimport importlib.util\ndef found(name): return importlib.util.find_spec(name) is not None\n")
	s.must(t, id, "%%writefile two.py\nimport _looks\nfound = _looks.found('cell_late')\n")
	s.must(t, id, "import one, two")
	if c := s.run(t, id, "import cell_asked"); text(c) == "" {
		t.Error("import of cell_asked before its installation: got no output, want an error")
	}
	r := s.install(t, id, "cell-late", "cell-asked")
	var found []string
	for _, m := range r.Stale {
		if !m.Absent || m.Kernel != "python3" {
			t.Errorf("the stale module is %+v, want an absent package in python3", m)
		}
		found = append(found, m.Module+":"+m.Package)
	}
	if got := strings.Join(found, " "); got != "one:cell-late two:cell-late" || len(r.Warnings) != 2 || !strings.Contains(r.Warnings[0], "may remember that it was absent") {
		t.Errorf("the stale modules are %s, the warnings %q; want one:cell-late and two:cell-late with 2 warnings", got, r.Warnings)
	}
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if got := s.must(t, id, "import one, two; one.cell_late is not None and two.found"); got != "True" {
		t.Errorf("after the restart: %s, want True", got)
	}
}
