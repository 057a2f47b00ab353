package install

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// newInstaller returns an installer whose uv is a function of the test.
func newInstaller(t *testing.T, uv func(ctx context.Context, env map[string]string) Ended) (*Installer, string) {
	t.Helper()
	top := t.TempDir()
	lib := filepath.Join(top, "lib", "site-packages")
	if err := os.MkdirAll(lib, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"uv", "python3"} {
		if err := os.WriteFile(filepath.Join(top, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r, err := New(Options{Path: top, Dir: filepath.Join(top, "install"),
		Kernels: func(context.Context) (map[cellhold.KernelID]Modules, []string) {
			return map[cellhold.KernelID]Modules{"k": {Loaded: []string{"a.b", "a", "os"}}}, []string{"mute"}
		},
		Do: func(ctx context.Context, argv, environ []string, _ string) (Ended, error) {
			if strings.HasSuffix(argv[0], "python3") {
				return Ended{Output: `{"libs": ["` + lib + `"], "scripts": "` + top + `/bin", "data": "` + top + `"}`}, nil
			}
			env := map[string]string{}
			for _, v := range environ {
				name, value, _ := strings.Cut(v, "=")
				env[name] = value
			}
			for _, a := range argv {
				if strings.Contains(a, "http") {
					t.Errorf("the command line shows the address of the index: %q", argv)
				}
			}
			return uv(ctx, env), nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return r, lib
}

// put writes the files of an installed package. Without whole, a file of its record is missing.
func put(t *testing.T, lib, name, version string, whole bool) {
	t.Helper()
	info := filepath.Join(lib, name+"-"+version+".dist-info")
	if err := errors.Join(os.MkdirAll(info, 0o755), os.WriteFile(filepath.Join(info, "RECORD"), []byte(name+".py,,\n"+filepath.Base(info)+"/RECORD,,\n../../bin/x,,\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if whole {
		if err := os.WriteFile(filepath.Join(lib, name+".py"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var one = guestapi.Install{Requirements: []string{"a"}, Names: []string{"a"}, Timeout: time.Minute}

func TestAnInstallationReportsChangesAndStaleModules(t *testing.T) {
	var lib string
	r, lib := newInstaller(t, func(context.Context, map[string]string) Ended {
		os.RemoveAll(filepath.Join(lib, "a-1.dist-info"))
		put(t, lib, "a", "2", true)
		put(t, lib, "n", "1", true)
		os.WriteFile(filepath.Join(lib, "x.pth"), []byte("import n\n"), 0o644)
		return Ended{}
	})
	put(t, lib, "a", "1", true)
	out, err := r.Install(t.Context(), one)
	if err != nil || len(out.Changes) != 2 || out.Changes[0].Before != "1" || out.Changes[0].After != "2" || out.Changes[1].Name != "n" {
		t.Fatalf("result %+v, %v, want a changed and n added", out, err)
	}
	if len(out.Loaded) != 1 || out.Loaded[0] != (guestapi.LoadedModule{Kernel: "k", Package: "a", Module: "a"}) || len(out.Silent) != 1 || len(out.Hooks) != 1 || out.Hooks[0].Text != "import n\n" {
		t.Errorf("result %+v, want one loaded module, one silent kernel and one hook", out)
	}
}

func TestAPartialInstallationCountsAsNotInstalled(t *testing.T) {
	var lib string
	r, lib := newInstaller(t, func(context.Context, map[string]string) Ended {
		put(t, lib, "a", "2", false)
		return Ended{Signal: 9}
	})
	out, err := r.Install(t.Context(), one)
	if err != nil || out.Failure != guestapi.InstallKilled || len(out.Changes) != 0 {
		t.Errorf("result %+v, %v, want no changes", out, err)
	}
}

func TestTheHostIsReachedOnlyWithTheSecret(t *testing.T) {
	r, _ := newInstaller(t, func(ctx context.Context, env map[string]string) Ended {
		base := env["UV_DEFAULT_INDEX"]
		host := strings.Join(strings.SplitAfter(base, "/")[:3], "")
		for _, at := range []string{host, host + "simple/a/", host + "wrong/simple/a/"} {
			if status, _ := get(ctx, t, at); status != 404 {
				t.Errorf("%s: %d", at, status)
			}
		}
		if status, text := get(ctx, t, base+"a/"); status != 200 || text != "page of simple/a/" {
			t.Errorf("the index answered %d %q", status, text)
		}
		return Ended{Code: 1, Output: "see " + base + "a/"}
	})
	mux := http.NewServeMux()
	r.Serve(mux, func(w http.ResponseWriter, err error) { http.Error(w, err.Error(), 400) })
	host := httptest.NewServer(mux)
	defer host.Close()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		status, text := get(t.Context(), t, host.URL+"/v1/packages/ask")
		if status != 200 || !strings.Contains(text, `"path":"simple/a/"`) {
			t.Errorf("the host got the question %d %s", status, text)
		}
		for _, want := range []int{204, 400} { // the first answer is accepted, the second is not
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, host.URL+"/v1/packages/answer?ask=1&status=200&type=text/plain", strings.NewReader("page of simple/a/"))
			if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != want {
				t.Errorf("an answer of the host: %v %v, want %d", resp, err, want)
			}
		}
	}()
	out, err := r.Install(t.Context(), one)
	<-answered
	if err != nil || out.Failure != guestapi.InstallRefused || out.Log != "see index:a/" {
		t.Errorf("result %+v, %v, want a refusal without the secret in the log", out, err)
	}
}

func get(ctx context.Context, t *testing.T, at string) (int, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func TestAnImageWithoutUvIsAnError(t *testing.T) {
	r, err := New(Options{Path: t.TempDir(), Dir: t.TempDir(), Python: "/bin/sh", Do: func(context.Context, []string, []string, string) (Ended, error) { return Ended{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Install(t.Context(), one); cellhold.KindOf(err) != cellhold.Unsupported || !strings.Contains(err.Error(), "uv") {
		t.Error(err)
	}
}

func TestTheNamesOfModulesComeFromTheRecord(t *testing.T) {
	record := "a/__init__.py,sha256=x,1\na/b.py,,\nsix.py,,\n_c.cpython-313-x86_64-linux-gnu.so,,\na-1.dist-info/RECORD,,\n../../bin/a,,\na-1.data/x.py,,\n__pycache__/six.pyc,,\nshare/doc/x.txt,,\n1bad/x.py,,\n/etc/x.py,,\n"
	if got := strings.Join(topLevel([]byte(record)), " "); got != "_c a six" {
		t.Errorf("the modules are %q, want _c, a and six", got)
	}
	if got := uninstalls("Would uninstall\n - Cell_Demo==1.0\n + cell-demo==2.0\n"); len(got) != 1 || got[0] != "cell-demo" {
		t.Errorf("the packages to remove are %q, want cell-demo", got)
	}
}
