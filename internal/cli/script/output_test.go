package script

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// placed returns the destination of the script work/s.py with this --output.
func placed(t *testing.T, work, output string) *destination {
	t.Helper()
	p, err := Output{folder: output}.Place(&source{path: filepath.Join(work, "s.py")})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestADestinationAllowsReplacementOnlyIfItWasNewOrEmpty(t *testing.T) {
	work, full, empty, home := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	here := t.TempDir()
	t.Chdir(here)
	linked := filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.WriteFile(filepath.Join(full, "x.txt"), nil, 0o600), os.Mkdir(filepath.Join(full, "sub"), 0o755),
		os.Symlink(mark, filepath.Join(full, "sub", mark)), os.Symlink(home, linked)); err != nil {
		t.Fatal(err)
	}
	for output, ours := range map[string]bool{
		work: false, full: false, filepath.Join(full, "sub"): false, home: false, linked: false, ".": false, here: false,
		empty: true, filepath.Join(work, "new", "newer"): true,
	} {
		for run := range 2 { // the second run finds the files of the first
			p := placed(t, work, output)
			_, err := os.Lstat(filepath.Join(output, mark))
			if p.ours != ours || !p.named || ours && err != nil {
				t.Errorf("%s in run %d: got ours %v, named %v, the error %v for the mark; want ours %v, named true", output, run, p.ours, p.named, err, ours)
			}
			if err := p.keep("result.csv", strings.NewReader("x")); ours && err != nil {
				t.Errorf("%s in run %d: keep returned %v, want nil", output, run, err)
			}
		}
	}
	if got, err := os.ReadFile(filepath.Join(empty, mark)); err != nil || string(got) != markText {
		t.Errorf("got the mark %q, %v; want %q", got, err, markText)
	}
}

func TestOnlyDataIsPutIntoAFolderOfTheUser(t *testing.T) {
	for _, name := range strings.Fields(`out.csv plot.png a/b/table.parquet robots.txt notes.md deep/x.tar.gz Plot.PNG
		numpy/data.json model.h5 report.ipynb headers.txt`) {
		if !data(name) || hidden(name) || oddName(name) != "" {
			t.Errorf("%s: got data %v, hidden %v, oddName %q; want true, false and \"\"", name, data(name), hidden(name), oddName(name))
		}
	}
	for _, name := range strings.Fields(`json.py numpy/__init__.py conftest.py Makefile setup.py package.json PACKAGE.JSON
		config objects/x refs/heads/x jupyter_notebook_config.json tsconfig.base.json requirements-dev.txt CMakeLists.txt pom.xml
		evil.dist-info/METADATA.txt evil.Egg-Info/notes.txt evil.pth evil.so model.pkl conf.yaml pyproject.toml CLAUDE.md
		requirementſ.txt Dockerfile run.sh x.csv.exe noending .csv/x `) {
		if data(name) {
			t.Errorf("%s: got data true, want false because a program can run it or read its settings from it", name)
		}
	}
	dir := t.TempDir()
	p := &destination{dir: dir}
	for _, name := range []string{"json.py", "Makefile", ".bashrc", ".git/config", "a/.hidden/x.csv", "config"} {
		if err := p.keep(name, strings.NewReader("evil")); !errors.Is(err, errTaken) || p.objection(name) == "" {
			t.Errorf("%s: keep returned %v and the objection is %q; want errTaken and a reason", name, err, p.objection(name))
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("got the files %v, %v; want an empty folder", left, err)
	}
}

func TestDangerousNamesOfTheGuestAreRefused(t *testing.T) {
	for name, want := range map[string]string{
		"--checkpoint-action=exec=sh x": "option", "sub/-rf": "option", "-/x.csv": "option",
		".git/config": "git", "a/.GIT/x": "git", ".git": "git", ".git./config": "git", ".g\u200cit/config": "git", "GIT~1/config": "git",
		"HEAD": "git", "repo/Head": "git",
		mark: "mark", "sub/.Cellhold-Output": "mark",
	} {
		if why := oddName(name); !strings.Contains(why, want) {
			t.Errorf("%q: got the reason %q, want %q in it", name, why, want)
		}
	}
	for _, name := range []string{"a-b.csv", ".gitignore", "HEADER", "x/heads.txt", ".github/x"} {
		if why := oddName(name); why != "" {
			t.Errorf("%q: got the reason %q, want \"\"", name, why)
		}
	}
}
