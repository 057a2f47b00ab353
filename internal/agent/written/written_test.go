package written

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
)

func open(t *testing.T) (*Log, string) {
	t.Helper()
	dir := t.TempDir()
	l, err := New(nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func paths(list []cellhold.CellFile) string {
	var p []string
	for _, f := range list {
		p = append(p, filepath.Base(f.Exact()))
	}
	return fmt.Sprint(p)
}

func TestOnlyFilesWrittenAfterTheMarkAreListed(t *testing.T) {
	l, dir := open(t)
	write(t, filepath.Join(dir, "before"), "1")
	write(t, filepath.Join(dir, "changed"), "1")
	mark := l.Mark()
	if list, more := l.Since(mark); len(list) != 0 || more {
		t.Errorf("%v is listed without a write", list)
	}
	write(t, filepath.Join(dir, "changed"), "12")
	write(t, filepath.Join(dir, "new/deep/file"), "123")
	write(t, filepath.Join(dir, "gone"), "1")
	write(t, filepath.Join(dir, "bytes \xff"), "1")
	os.Remove(filepath.Join(dir, "gone"))
	os.Symlink("/etc/passwd", filepath.Join(dir, "link"))
	write(t, filepath.Join(dir, Ignore+"x"), "1")
	os.Rename(filepath.Join(dir, Ignore+"x"), filepath.Join(dir, "uploaded"))
	list, more := l.Since(mark)
	if got := paths(list); got != "[bytes \xff changed file]" || more {
		t.Errorf("listed %q, more %t", got, more)
	}
	if list[1].Size != 2 {
		t.Errorf("the second file is %+v, want 2 bytes", list[1])
	}
	if list, _ := l.Since(l.Mark()); len(list) != 0 {
		t.Errorf("the second list has %v, want none", list)
	}
}

func TestADirectoryWithMoreEntriesThanTheLimitsIsWatched(t *testing.T) {
	dir := t.TempDir()
	for i := range maxDirs + 10 {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l, err := New(nil, dir)
	if err != nil {
		t.Fatalf("a directory with many directories is not watched: %v", err)
	}
	defer l.Close()
	mark := l.Mark()
	write(t, filepath.Join(dir, "file"), "1")
	if list, _ := l.Since(mark); paths(list) != "[file]" {
		t.Errorf("listed %s, want [file]", paths(list))
	}
}

func TestTheListIsBoundedAndReportsMissingFiles(t *testing.T) {
	l, dir := open(t)
	mark := l.Mark()
	for i := range maxKept + 500 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), "1")
	}
	list, more := l.Since(mark)
	if len(list) != guestapi.MaxCellFiles || !more {
		t.Errorf("%d files, more %t", len(list), more)
	}
	if len(l.files) > maxKept {
		t.Errorf("%d files are kept", len(l.files))
	}
	mark = l.Mark()
	write(t, filepath.Join(dir, "one"), "1")
	if list, more := l.Since(mark); paths(list) != "[one]" || more {
		t.Errorf("afterwards %v, more %t", list, more)
	}
}
