package builds

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open opens the builds of a program with this content.
func open(dir, content string) (*Builds, error) {
	return Open(dir, Program{Name: "program", Digest: digest(content), Content: strings.NewReader(content)})
}

// put makes a build below dir and releases it.
func put(dir, content string) (string, error) {
	b, err := open(dir, content)
	if err != nil {
		return "", err
	}
	return b.Path(), b.Close()
}

const script = "#!/bin/sh\necho hello\n"

func TestABinaryIsWrittenOnceAndRuns(t *testing.T) {
	dir := t.TempDir()
	path, err := put(dir, script)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path).Output()
	if err != nil || string(out) != "hello\n" {
		t.Fatalf("got %q, %v", out, err)
	}
	first, _ := os.Stat(path)
	again, err := put(dir, script)
	if err != nil || again != path {
		t.Fatalf("second time: %q, %v; want %q", again, err, path)
	}
	second, _ := os.Stat(path)
	if !os.SameFile(first, second) {
		t.Error("a good file was written again")
	}
}

func TestAChangedFileIsReplaced(t *testing.T) {
	spoil := map[string]func(path string) error{
		"bytes":   func(p string) error { return os.WriteFile(p, []byte(strings.ToUpper(script)), 0o755) },
		"length":  func(p string) error { return os.Truncate(p, 3) },
		"mode":    func(p string) error { return os.Chmod(p, 0o644) },
		"shared":  func(p string) error { return os.Chmod(p, 0o777) },
		"missing": os.Remove,
		"owner": func(p string) error {
			if os.Geteuid() != 0 {
				return os.Remove(p) // only root can give a file away
			}
			return os.Chown(p, 54321, 54321)
		},
		"link": func(p string) error {
			return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p))
		},
	}
	for name, spoil := range spoil {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, err := put(dir, script)
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			if _, err := put(dir, script); err != nil {
				t.Fatal(err)
			}
			if content, err := os.ReadFile(path); err != nil || string(content) != script {
				t.Errorf("the changed file is still there: %q, %v", content, err)
			}
		})
	}
}

func TestAProgramWithAnotherDigestIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	if b, err := Open(dir, Program{Name: "program", Digest: digest(script), Content: strings.NewReader("other")}); err == nil {
		t.Errorf("%s is returned", b.Path())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) != 0 {
		t.Errorf("files left over: %v", left)
	}
	if b, err := Open(dir, Program{Name: "program", Digest: "../" + digest(script)}); err == nil {
		t.Errorf("%s is returned", b.Path())
	}
}

func TestManyAtOnceAllGetAWholeFile(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			path, err := put(dir, script)
			if err != nil {
				t.Error(err)
			}
			if content, err := os.ReadFile(path); err != nil || string(content) != script {
				t.Errorf("put: %q, %q, %v", path, content, err)
			}
		})
	}
	all.Wait()
	left, _ := filepath.Glob(filepath.Join(dir, "*", ".new-*"))
	if len(left) != 0 {
		t.Errorf("files left over: %v", left)
	}
}

// digest returns the digest by which snapshots name a build.
func digest(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:])
}

func TestTheBinaryOfAnotherBuildIsKeptWhileItIsNeededOrHeld(t *testing.T) {
	dir := t.TempDir()
	old, err := open(dir, script)
	if err != nil {
		t.Fatal(err)
	}
	g, err := open(dir, "#!/bin/sh\necho later\n")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	prune := func(needed ...string) {
		t.Helper()
		set := map[string]bool{}
		for _, d := range needed {
			set[d] = true
		}
		if err := g.Prune(set); err != nil {
			t.Error(err)
		}
	}
	prune() // another process holds it
	if path, err := g.Find(digest(script)); err != nil || path != old.Path() {
		t.Errorf("found at %q, %v", path, err)
	}
	if err := errors.Join(old.Close(), old.Close()); err != nil {
		t.Fatal(err)
	}
	prune("nonsense", digest(script))
	if _, err := g.Find(digest(script)); err != nil {
		t.Error(err)
	}
	prune("nonsense")
	if _, err := g.Find(digest(script)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the unused binary: %v", err)
	}
	if _, err := os.Stat(g.Path()); err != nil {
		t.Errorf("the binary of this build: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("another file in the folder: %v", err)
	}
}

func TestABinaryWithOtherBytesIsNotReturned(t *testing.T) {
	for what, spoil := range map[string]func(path string) error{
		"bytes": func(p string) error { return os.WriteFile(p, []byte(strings.ToUpper(script)), 0o755) },
		"mode":  func(p string) error { return os.Chmod(p, 0o777) },
		"link":  func(p string) error { return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p)) },
	} {
		g, err := open(t.TempDir(), script)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if _, err := g.Find(digest(script)); err != nil {
			t.Errorf("an unchanged binary: %v", err)
		}
		if err := spoil(g.Path()); err != nil {
			t.Fatal(err)
		}
		if path, err := g.Find(digest(script)); err == nil {
			t.Errorf("%s: %s is returned", what, path)
		}
		if path, err := g.Find("../" + digest(script)); err == nil {
			t.Errorf("%s is returned", path)
		}
	}
}

// TestABuildThatAnotherUserReplacesIsNotExecuted: a server with the rights of root executes builds in its home, and the home
// can be in the folder of another user.
func TestABuildThatAnotherUserReplacesIsNotExecuted(t *testing.T) {
	const shell = "/bin/sh"
	program, err := os.ReadFile(shell) // a script would lead to an interpreter that opens the path again
	if err != nil {
		t.Skipf("needs a program: %v", err)
	}
	b, err := open(t.TempDir(), string(program))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path, err := b.Executable(b.Digest())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(b.Path()), os.Symlink("/bin/false", b.Path())); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, "-c", "echo hello").Output(); err != nil || string(out) != "hello\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestABinaryThatIsOpenedDuringItsRemovalExistsAfterwards(t *testing.T) {
	dir := t.TempDir()
	pruner, err := open(dir, "pruner")
	if err != nil {
		t.Fatal(err)
	}
	defer pruner.Close()
	var all sync.WaitGroup
	defer all.Wait()
	for range 4 {
		all.Go(func() {
			for range 50 {
				g, err := open(dir, script)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := g.Find(digest(script)); err != nil {
					t.Errorf("a held binary: %v", err)
				}
				if err := errors.Join(g.Close(), pruner.Prune(nil)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestALinkForAFolderIsNotFollowed: the folder's mode is set, and its target may be private.
func TestALinkForAFolderIsNotFollowed(t *testing.T) {
	dir, private := t.TempDir(), filepath.Join(t.TempDir(), "private")
	folder := filepath.Join(dir, folderOf(digest(script)))
	if err := errors.Join(os.Mkdir(private, 0o700), os.Symlink(private, folder)); err != nil {
		t.Fatal(err)
	}
	if path, err := put(dir, script); err == nil {
		t.Errorf("%s is returned", path)
	}
	if info, err := os.Stat(private); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the target of the link: %v, %v", info.Mode(), err)
	}
	if files, err := os.ReadDir(private); err != nil || len(files) > 0 {
		t.Errorf("the target of the link has the files %v, %v", files, err)
	}
}

// TestALockedFolderIsAnError: every user who can read the folder can lock it.
func TestALockedFolderIsAnError(t *testing.T) {
	defer func(before time.Duration) { patience = before }(patience)
	dir := t.TempDir()
	path, err := put(dir, script)
	if err != nil {
		t.Fatal(err)
	}
	held, err := lock(filepath.Dir(path), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	patience = 20 * time.Millisecond
	if _, err := put(dir, script); err == nil || !strings.Contains(err.Error(), "another process has locked "+filepath.Dir(path)) {
		t.Errorf("got %v", err)
	}
	patience = time.Minute
	time.AfterFunc(50*time.Millisecond, func() { held.Close() })
	if _, err := put(dir, script); err != nil {
		t.Errorf("after the lock: %v", err)
	}
}

func TestTheIncompleteFilesOfKilledProcessesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	path, err := put(dir, script)
	if err != nil {
		t.Fatal(err)
	}
	killed, written := filepath.Join(filepath.Dir(path), newPrefix+"1"), filepath.Join(filepath.Dir(path), newPrefix+"2")
	past := time.Now().Add(-2 * abandoned)
	err = errors.Join(os.Remove(path), os.WriteFile(killed, nil, 0o600), os.WriteFile(written, nil, 0o600), os.Chtimes(killed, past, past))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(dir, script); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(killed); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of a killed process: %v", err)
	}
	if _, err := os.Lstat(written); err != nil {
		t.Errorf("a file that is being written: %v", err)
	}
}
