package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// hostileFiles is a script. It writes two result files, and files that programs such as git, make and Python would
// obey in the user's folder.
const hostileFiles = `import os
def put(name, text="#!/bin/sh\ntouch pwned\n"):
    if os.path.dirname(name):
        os.makedirs(os.path.dirname(name), exist_ok=True)
    open(name, "w").write(text)
    os.chmod(name, 0o755)
put("out.csv", "a,b\n")
put("plot.png", "\x89PNG")
put("s.py", "import os; os.system('touch pwned')")
config = "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = \"touch pwned; false\"\n\tworktree = .\n"
for name in (".git/config", "config", "sub/config"):
    put(name, config)
for name in ("HEAD", ".git/HEAD", "sub/HEAD"):
    put(name, "ref: refs/heads/main\n")
for name in ("objects/x", "refs/x", "sub/objects/x", "sub/refs/x"):
    put(name)
for name in ("json.py", "numpy/__init__.py", "conftest.py", "Makefile", "package.json", ".bashrc", ".ssh/authorized_keys",
             "e.dist-info/entry_points.txt", "--checkpoint-action=exec=sh pwn.csv", ".cellhold-output", "noending"):
    put(name)
`

// tree returns the paths of all files below a folder.
func tree(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files := map[string]bool{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if rel, e := filepath.Rel(dir, p); e == nil && !d.IsDir() {
			files[filepath.ToSlash(rel)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFilesThatProgramsObeyAreKeptOutOfTheUsersFolder(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"s.py"}, {"--output", ".", "s.py"}} {
		dir := t.TempDir()
		git := func(args ...string) string {
			cmd := exec.Command("git", args...)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir)
			out, _ := cmd.CombinedOutput()
			return string(out)
		}
		git("init", "-q")
		mine := errors.Join(os.WriteFile(filepath.Join(dir, "Makefile"), []byte("mine"), 0o600), os.WriteFile(filepath.Join(dir, ".bashrc"), []byte("mine"), 0o600))
		got := runScript(t, dir, map[string]string{"s.py": hostileFiles}, nil, args...)
		if got.status != 0 || mine != nil {
			t.Fatalf("got %+v and %v, want exit status 0 and the user's files", got, mine)
		}
		files := tree(t, dir)
		for name := range files {
			top, _, _ := strings.Cut(name, "/")
			switch {
			case top == ".git" || top == "s-output":
			case name != "s.py" && name != "Makefile" && name != ".bashrc" && name != "out.csv" && name != "plot.png":
				t.Errorf("%v: got the file %s in the user's folder, want only data there", args, name)
			}
		}
		for _, name := range []string{"out.csv", "plot.png", "s-output/s.py", "s-output/json.py", "s-output/.bashrc", "s-output/noending"} {
			if !files[name] {
				t.Errorf("%v: %s does not exist, want the file of the script", args, name)
			}
		}
		for name, want := range map[string]string{"s.py": hostileFiles, "Makefile": "mine", ".bashrc": "mine"} {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
				t.Errorf("%v: %s is %q, %v; want %q", args, name, b, err, want)
			}
		}
		git("status")
		git("-C", "s-output", "status")
		git("-C", "s-output/sub", "status")
		if files = tree(t, dir); files["pwned"] || files["s-output/pwned"] || files["s-output/sub/pwned"] || files["s-output/HEAD"] {
			t.Errorf("%v: got the file pwned or s-output/HEAD, want no effect of the script's files on git", args)
		}
		for _, want := range []string{`not kept: "HEAD": git would obey it`, `not kept: ".cellhold-output": cellhold uses`, `an option`,
			"s-output: check them before you use them"} {
			if !strings.Contains(got.err, want) {
				t.Errorf("%v: cellhold does not report %s: %s", args, want, got.err)
			}
		}
	}
}

func TestAnOutputFolderKeepsTheUsersFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "full"), 0o755), os.WriteFile(filepath.Join(dir, "full/out.csv"), []byte("mine"), 0o600)); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"s.py": "open('out.csv', 'w').write('new'); open('.hidden', 'w').write('new')"}
	got := runScript(t, dir, files, nil, "--output", "full", "s.py")
	if !strings.Contains(got.err, "nothing in full is replaced") || got.status != 0 {
		t.Errorf("with the existing folder: got %+v, want exit status 0 and a note", got)
	}
	for range 2 { // the second run replaces the files of the first run
		if got := runScript(t, dir, files, nil, "--output", "new", "s.py"); got.status != 0 || strings.Contains(got.err, "because") {
			t.Errorf("with the new folder: got %+v, want exit status 0 without a note", got)
		}
	}
	for name, want := range map[string]string{"full/out.csv": "mine", "full/s-output/out.csv": "new", "full/s-output/.hidden": "new",
		"new/out.csv": "new", "new/.hidden": "new"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v; want %q", name, b, err, want)
		}
	}
	if files := tree(t, dir); files["full/.hidden"] || !files["new/.cellhold-output"] {
		t.Errorf("the files are %v, want no full/.hidden, and new/.cellhold-output", files)
	}
}
