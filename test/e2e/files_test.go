package e2e

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// write uploads a file. The upload must succeed.
func (s *server) write(t testing.TB, id cellhold.SessionID, path, content string) cellhold.FileInfo {
	t.Helper()
	f, err := s.WriteFile(t.Context(), id, path, strings.NewReader(content), 0)
	if err != nil {
		t.Fatalf("upload %q: %v", path, err)
	}
	return f
}

// read downloads a file, and returns its content.
func (s *server) read(t testing.TB, id cellhold.SessionID, path string) string {
	t.Helper()
	r, err := s.ReadFile(t.Context(), id, path)
	if err != nil {
		t.Fatalf("download %q: %v", path, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("download %q: %v", path, err)
	}
	return string(b)
}

// names lists the names in a directory.
func (s *server) names(t testing.TB, id cellhold.SessionID, dir string) []string {
	t.Helper()
	list, err := s.ListDir(t.Context(), id, dir)
	if err != nil {
		t.Fatalf("list %q: %v", dir, err)
	}
	names := []string{}
	for _, f := range list {
		exact := f.Exact()
		names = append(names, exact[strings.LastIndexByte(exact, '/')+1:])
	}
	return names
}

func TestFilesWithAnyBytesAndNamesAreTransferred(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	content := string(bytes.Repeat(all, 1000))
	for _, name := range []string{
		"plain.txt", "größe 1.txt", "日本語/ファイル.csv", "मुंबई योग", "\u202egpj.exe", "😀/👩‍👩‍👧", "a+b&c=d?e#f%2F", " lead and trail ",
		"not utf-8 \xff\xfe\x80", "new\nline\rtab\t", "-rf", "~", "$(reboot)", "quote\"'`\\", "CON", ".hidden", "<script>alert(1)</script>", strings.Repeat("é", 127),
	} {
		f := s.write(t, id, name, content)
		if got := f.Exact(); got != "/workspace/"+name || f.Size != int64(len(content)) {
			t.Errorf("%q was written as %q with %d bytes, want %q with %d", name, got, f.Size, "/workspace/"+name, len(content))
		}
		if got := s.read(t, id, name); got != content {
			t.Errorf("%q: downloaded %d bytes, want the %d uploaded bytes", name, len(got), len(content))
		}
		seen := s.must(t, id, fmt.Sprintf("import os; p = os.fsencode('/workspace/') + bytes.fromhex('%x'); (os.path.getsize(p), os.stat(p).st_uid)", name))
		if want := fmt.Sprintf("(%d, 1000)", len(content)); seen != want {
			t.Errorf("the code sees %q as %s, want %s", name, seen, want)
		}
		moved := name + "2"
		if len(moved) > 255 {
			continue
		}
		if err := s.MoveFile(t.Context(), id, name, moved, false); err != nil {
			t.Errorf("move %q: %v", name, err)
		}
		if err := s.RemoveFile(t.Context(), id, moved, false); err != nil {
			t.Errorf("remove %q: %v", moved, err)
		}
	}
	left := s.names(t, id, "")
	if len(left) != 3 { // the three directories of the names that contain a slash
		t.Errorf("got the entries %q after the removals, want the 3 directories", left)
	}
}
