package agent_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox/fake"
)

func paths(files []guestapi.File) string {
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
	}
	return strings.Join(names, " ")
}

func (r *rig) files() string {
	r.Helper()
	list, err := r.client.Files(r.ctx)
	if err != nil {
		r.Fatal(err)
	}
	return paths(list)
}

func (r *rig) readFile(name string) (string, error) {
	r.Helper()
	f, err := r.client.ReadFile(r.ctx, name, 1<<20)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

func TestFilesAreUploadedAndDownloaded(t *testing.T) {
	r := newRig(t, fake.Options{})
	dir := r.world.OutputDir(r.id)
	if got := r.files(); got != "" {
		t.Errorf("files in an empty directory: %s", got)
	}
	for name, content := range map[string]string{"in.csv": "a,b", "deep/er/x.txt": "", "in.csv ": "space"} {
		if err := r.client.WriteFile(r.ctx, name, strings.NewReader(content), int64(len(content))); err != nil {
			t.Fatal(err)
		}
		if got, err := r.readFile(name); err != nil || got != content {
			t.Errorf("%s: %q %v, want %q", name, got, err, content)
		}
	}
	writeFile(t, filepath.Join(dir, "out.png"), "png")
	if got := r.files(); got != "deep/er/x.txt in.csv in.csv  out.png" {
		t.Errorf("files %q", got)
	}
	if err := r.client.WriteFile(r.ctx, "in.csv", strings.NewReader("new"), 3); err != nil {
		t.Fatal(err)
	}
	if got, err := r.readFile("in.csv"); err != nil || got != "new" {
		t.Errorf("replaced file: %q %v", got, err)
	}
}

func TestABrokenUploadLeavesTheOldFile(t *testing.T) {
	r := newRig(t, fake.Options{})
	if err := r.client.WriteFile(r.ctx, "a", strings.NewReader("old"), 3); err != nil {
		t.Fatal(err)
	}
	if err := r.client.WriteFile(r.ctx, "a", strings.NewReader("ne"), 3); err == nil {
		t.Error("a short upload returned no error")
	}
	if got, err := r.readFile("a"); err != nil || got != "old" {
		t.Errorf("%q %v, want the old file", got, err)
	}
	if got := r.files(); got != "a" {
		t.Errorf("files %q, want a only", got)
	}
}

func TestOnlyRegularFilesBelowTheDirectoryAreSeen(t *testing.T) {
	r := newRig(t, fake.Options{})
	dir := r.world.OutputDir(r.id)
	outside := filepath.Join(t.TempDir(), "canary")
	writeFile(t, outside, "secret")
	for _, err := range []error{
		syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o666),
		os.Symlink(outside, filepath.Join(dir, "link")),
		os.Symlink(filepath.Dir(outside), filepath.Join(dir, "up")),
		os.Symlink("/dev/zero", filepath.Join(dir, "zero")),
		os.Mkdir(filepath.Join(dir, "sub"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "sub", "good"), "x")
	writeFile(t, filepath.Join(dir, "bad\nname"), "x")
	if got := r.files(); got != "sub/good" {
		t.Errorf("files %q, want sub/good only", got)
	}
	for _, name := range []string{"fifo", "link", "zero", "sub", "up/canary", "none"} {
		if got, err := r.readFile(name); cellhold.KindOf(err) != cellhold.NotFound {
			t.Errorf("%s: %q %v, want not found", name, got, err)
		}
	}
	if err := r.client.WriteFile(r.ctx, "up/planted", strings.NewReader("x"), 1); err == nil {
		t.Error("a file outside the directory was written")
	}
	for _, name := range []string{"link", "fifo", "zero"} { // an upload replaces these entries, and does not follow links
		if err := r.client.WriteFile(r.ctx, name, strings.NewReader("new"), 3); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "secret" {
		t.Errorf("outside: %q %v", b, err)
	}
	if left, err := os.ReadDir(filepath.Dir(outside)); err != nil || len(left) != 1 {
		t.Errorf("the directory outside now has %v %v", left, err)
	}
}

func TestANameThatUserCodeSwapsNeverLeadsOutside(t *testing.T) {
	r := newRig(t, fake.Options{})
	dir := r.world.OutputDir(r.id)
	outside := t.TempDir()
	writeFile(t, filepath.Join(outside, "f"), "secret")
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "real", "f"), "mine")
	stop := make(chan struct{})
	var flips sync.WaitGroup
	flips.Go(func() {
		d := filepath.Join(dir, "d")
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			os.Remove(d)
			os.Symlink([]string{outside, "real"}[i%2], d)
		}
	})
	for range 300 {
		if got, err := r.readFile("d/f"); err == nil && got != "mine" {
			t.Errorf("read %q", got)
			break
		}
		r.client.WriteFile(r.ctx, "d/g", strings.NewReader("x"), 1)
		if got := r.files(); strings.Contains(got, "d/f") {
			t.Errorf("listed through a link: %s", got)
		}
	}
	close(stop)
	flips.Wait()
	if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
		t.Errorf("the directory outside now has %v %v", left, err)
	}
}

func TestListsAreBounded(t *testing.T) {
	r := newRig(t, fake.Options{})
	dir := r.world.OutputDir(r.id)
	for i := range guestapi.MaxFiles + 100 {
		writeFile(t, filepath.Join(dir, "f"+strings.Repeat("x", i%50)+string(rune('a'+i%26))+strings.Repeat("y", i/50)), "")
	}
	deep := filepath.Join(dir, strings.Repeat("d/", guestapi.MaxDepth+4))
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(deep, "f"), "")
	list, err := r.client.Files(r.ctx)
	if err != nil || len(list) != guestapi.MaxFiles {
		t.Errorf("%d files %v, want %d", len(list), err, guestapi.MaxFiles)
	}
}
