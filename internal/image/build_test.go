package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestTheDigestOfARecipeDependsOnAllItsFiles(t *testing.T) {
	digest := func(change func(fstest.MapFS)) string {
		t.Helper()
		recipe := testRecipe("true")
		change(recipe)
		d, err := recipeDigest(recipe)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := digest(func(fstest.MapFS) {})
	if again := digest(func(fstest.MapFS) {}); again != first {
		t.Errorf("got the digests %s and %s for the same files, want one digest", first, again)
	}
	for name, change := range map[string]func(fstest.MapFS){
		"a changed file": func(r fstest.MapFS) { r["build.sh"] = &fstest.MapFile{Data: []byte("false")} },
		"a new file":     func(r fstest.MapFS) { r["files/etc/motd"] = &fstest.MapFile{} },
		"a renamed file": func(r fstest.MapFS) { r["other.sh"] = r["build.sh"]; delete(r, "build.sh") },
	} {
		if digest(change) == first {
			t.Errorf("%s: got the digest %s of the unchanged recipe, want another", name, first)
		}
	}
}

func TestARecipeHasItsNameSuiteAndPackages(t *testing.T) {
	r, err := readRecipe(testRecipe("true"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "tiny" || r.Suite != "trixie" || !slices.Equal(r.packages, []string{"python3", "bash"}) {
		t.Errorf("got the name %q, suite %q, packages %q; want tiny, trixie, python3 and bash", r.Name, r.Suite, r.packages)
	}
}

func TestAnInvalidRecipeIsRefused(t *testing.T) {
	for _, text := range []string{`{}`, `{"name": "a/b", "suite": "x"}`, `{"name": "../a", "suite": "x"}`, `{"name": "a", "suite": "--option"}`, `{`} {
		recipe := testRecipe("true")
		recipe["recipe.json"] = &fstest.MapFile{Data: []byte(text)}
		if _, err := testStore(t, buildHello).Build(t.Context(), recipe, BuildOptions{}); err == nil {
			t.Errorf("recipe.json %s: got no error, want one", text)
		}
	}
}

func TestTheSourcesOfADebianHostAreUsedForTheSuiteOfTheRecipe(t *testing.T) {
	debian := "ID=debian\nVERSION_CODENAME=bookworm\n"
	for name, test := range map[string]struct {
		release, targets string
		want             []string
	}{
		"a Debian with security": {debian,
			"http://m.example/debian-security bookworm-security main\nhttp://m.example/debian bookworm main\n" +
				"http://m.example/debian bookworm-updates main\nhttp://m.example/debian bookworm contrib\n" +
				"https://other.example/node nodistro main\nhttps://other.example/x bookworm-pgdg main\n",
			[]string{"deb http://m.example/debian-security trixie-security main",
				"deb http://m.example/debian trixie main", "deb http://m.example/debian trixie-updates main"}},
		"by the name of the branch": {"ID=\"debian\"\nVERSION_CODENAME=trixie\n", "file:/srv/debian stable main\n",
			[]string{"deb file:/srv/debian trixie main"}},
		"no main mirror": {debian, "http://m.example/debian-security bookworm-security main\n", nil},
		"not Debian":     {"ID=other\nVERSION_CODENAME=jammy\n", "http://m.example/other jammy main\n", nil},
		"nothing":        {"", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, lines := debianSources(test.release, test.targets, "trixie")
			if diff := cmp.Diff(lines, test.want); diff != "" {
				t.Errorf("sources differ (-got +want):\n%s", diff)
			}
		})
	}
}

func TestNetworkSettingsOfAptArePassedOn(t *testing.T) {
	dump := `Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CaInfo "/etc/ca.pem";
Acquire::httpsomething::X "1";
Acquire::cdrom::mount "/media";
Acquire::Check-Date "false";
`
	want := []string{`Acquire::Retries "3"`, `Acquire::http::Proxy "http://proxy.example:3128"`,
		`Acquire::https::CaInfo "/etc/ca.pem"`, `Acquire::Check-Date "false"`}
	if diff := cmp.Diff(aptOptions([]byte(dump)), want); diff != "" {
		t.Errorf("options differ (-got +want):\n%s", diff)
	}
}

func TestSettingsOfPipArePassedOn(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	files := map[string]string{"ca.pem": "the authority", ".config/pip/pip.conf": "[global]\n"}
	for name, content := range files {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"HOME=" + home, "PIP_CERT=" + home + "/ca.pem", "PIP_INDEX_URL=http://it's.example/simple",
		"PIP_TARGET=/elsewhere", "SECRET=1"}
	if err := writePipSettings(dir, env); err != nil {
		t.Fatal(err)
	}
	settings, err := os.ReadFile(filepath.Join(dir, "env.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]bool{
		`export PIP_INDEX_URL='http://it'\''s.example/simple'`: true,
		"export PIP_CERT=/run/build/ca.pem":                    true,
		"export PIP_CONFIG_FILE=/run/build/pip.conf":           true,
		"PIP_TARGET": false,
		"SECRET":     false,
		home:         false,
	} {
		if got := strings.Contains(string(settings), line); got != want {
			t.Errorf("env.sh contains %q: got %v, want %v; env.sh is\n%s", line, got, want, settings)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "ca.pem")); err != nil || string(data) != "the authority" {
		t.Errorf("ca.pem is %q, %v; want the authority", data, err)
	}
}

func TestAFailureOfAToolBecomesOneLine(t *testing.T) {
	exit := errors.New("exit status 1")
	for _, test := range []struct{ printed, want string }{
		{"I: running apt-get update...\nErr:1 http://m.example trixie InRelease\n  Temporary failure resolving 'm.example'\n",
			"cannot reach the Debian mirror named in your apt configuration, http://m.example"},
		{"E: Failed to fetch http://m.example/x.deb  Unable to connect to m.example\n", "cannot reach the Debian mirror"},
		{"The following signatures couldn't be verified: NO_PUBKEY 0E98404D386FA1D9\n", "apt-get install debian-archive-keyring"},
		{"==> downloading and installing the Python packages\nWARNING: Retrying after connection broken by 'NewConnectionError'\n",
			"cannot reach the Python package index"},
		{"ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n", "requirements.lock"},
		{"cp: error writing 'x': No space left on device\n", "the disk is full"},
		{"==> compiling\nE: something new\nE: the rest\n", "failed while compiling: E: something new: exit status 1"},
		{strings.Repeat("x", 3*longestLine) + "\nE: after a long line\n", "E: after a long line"},
	} {
		var log strings.Builder
		w := &watcher{log: &log}
		if _, err := w.Write([]byte(test.printed)); err != nil {
			t.Fatal(err)
		}
		err := w.explain(t.Context(), exit, aptConfig{mirror: "http://m.example"})
		if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80q: got %q, want one line with %q", test.printed, err, test.want)
		}
		if log.String() != test.printed {
			t.Errorf("%.80q: the log has %d bytes, want the %d printed bytes", test.printed, log.Len(), len(test.printed))
		}
	}
}

func TestProgressShowsTheMainSteps(t *testing.T) {
	var said []string
	var log strings.Builder
	w := &watcher{log: &log, progress: func(step string) { said = append(said, step) }}
	// A pipe can deliver a line in two pieces.
	for _, piece := range []string{"I: running apt-", "get update...\nI: finding correct signed-by value...\n",
		"  Downloading numpy-2.5.5-cp313-cp313-manylinux_2_28_x86_64.whl (16.3 MB)\nnoise\n==> compi", "ling\n"} {
		if _, err := w.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"running apt-get update", "downloading numpy 2.5.5 (16.3 MB)", "compiling"}
	if diff := cmp.Diff(said, want); diff != "" {
		t.Errorf("progress differs (-got +want):\n%s", diff)
	}
}

// TestToolsAndTheirChildrenEndWithTheContext starts a real isolated command. After Wait its children must have ended: a surviving child
// would keep the pipe open.
func TestToolsAndTheirChildrenEndWithTheContext(t *testing.T) {
	if err := isolated(t.Context(), "true").Run(); err != nil {
		t.Skipf("this host cannot make namespaces: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := isolated(ctx, "sh", "-c", "sleep 1000 & echo started; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := make([]byte, 8)
	if _, err := out.Read(started); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := out.Read(started); err == nil {
		t.Error("the pipe is still open, want its end: all children must have ended")
	}
	if err := cmd.Wait(); err == nil {
		t.Error("Wait returned nil, want the error of a killed command")
	}
}
