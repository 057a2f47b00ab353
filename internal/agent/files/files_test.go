package files

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cellhold/internal/guestapi"
)

// testHandler is a handler on a temporary directory.
type testHandler struct {
	testing.TB
	dir string
}

func newTestHandler(t testing.TB) testHandler { return testHandler{t, t.TempDir()} }

// call sends a request, and returns the status and the body of the answer.
func (d testHandler) call(method, route string, query url.Values, body string) (int, string) {
	d.Helper()
	w := httptest.NewRecorder()
	Handler(d.dir).ServeHTTP(w, httptest.NewRequest(method, "/v1/files"+route+"?"+query.Encode(), strings.NewReader(body)))
	return w.Code, w.Body.String()
}

func at(path string) url.Values { return url.Values{"path": {path}} }

// left returns the entries in the directory as text.
func (d testHandler) left() string {
	d.Helper()
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		d.Fatal(err)
	}
	return fmt.Sprint(entries)
}

func TestADirectoryIsReadPageByPageInOrder(t *testing.T) {
	d := newTestHandler(t)
	want := map[string]bool{}
	for i := range 1500 {
		name := fmt.Sprintf("%c%d", 'a'+i%26, i)
		want[name] = true
		if err := os.WriteFile(filepath.Join(d.dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	after, pages := "", 0
	for more := true; more; pages++ {
		status, body := d.call("GET", "", url.Values{"path": {"."}, "after": {after}, "limit": {"400"}}, "")
		var l guestapi.Listing
		if err := json.Unmarshal([]byte(body), &l); err != nil || status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		for _, e := range l.Entries {
			if e.Name <= after || !want[e.Name] {
				t.Fatalf("%q after %q", e.Name, after)
			}
			after = e.Name
			delete(want, e.Name)
		}
		more = l.More
	}
	if len(want) != 0 || pages != 4 {
		t.Errorf("%d names are missing after %d pages", len(want), pages)
	}
}

func TestARefusedRequestKeepsALinkToNothing(t *testing.T) {
	d := newTestHandler(t)
	link := filepath.Join(d.dir, "link")
	if err := os.Symlink("nothing/at/all", link); err != nil {
		t.Fatal(err)
	}
	if status, body := d.call("POST", "/directory", at("link/below"), ""); status < 400 || status >= 500 {
		t.Errorf("a directory below a link to nothing: %d %s, want 4xx", status, body)
	}
	if _, err := os.Lstat(link); err != nil {
		t.Errorf("the refused request removed the link: %v", err)
	}
}

func TestAnUploadReplacesAFileCompletelyAndKeepsItsMode(t *testing.T) {
	d := newTestHandler(t)
	script := filepath.Join(d.dir, "run.sh")
	if err := os.WriteFile(script, []byte("old"), 0o755); err != nil {
		t.Fatal(err)
	}
	if status, body := d.call("PUT", "/content", at("run.sh"), "new"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	info, err := os.Stat(script)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode of the replaced file: %v %v, want 0755", info, err)
	}
	if status, _ := d.call("PUT", "/content", url.Values{"path": {"run.sh"}, "limit": {"2"}}, "longer"); status != 413 {
		t.Errorf("over the limit: %d", status)
	}
	if got, _ := os.ReadFile(script); string(got) != "new" {
		t.Errorf("the file has %q", got)
	}
	if status, _ := d.call("PUT", "/content", at("a/b/c"), "x"); status != 200 {
		t.Errorf("directories were not made: %d", status)
	}
	if status, _ := d.call("PUT", "/content", at("run.sh/x"), "x"); status != 409 {
		t.Errorf("below a file: %d", status)
	}
	if status, _ := d.call("PUT", "/content", at("a"), "x"); status != 409 {
		t.Errorf("on a directory: %d", status)
	}
	if status, _ := d.call("PUT", "/content", url.Values{"path": {"new/dir/f"}, "limit": {"2"}}, "longer"); status != 413 {
		t.Errorf("over the limit: %d", status)
	}
	if strings.Contains(d.left(), "new") || strings.Contains(d.left(), tempPrefix) {
		t.Errorf("files after refused uploads: %s", d.left())
	}
}

func TestAnUploadReplacesALinkAndDoesNotWriteThroughIt(t *testing.T) {
	d := newTestHandler(t)
	canary := filepath.Join(t.TempDir(), "canary")
	os.WriteFile(canary, []byte("safe"), 0o644)
	os.Symlink(canary, filepath.Join(d.dir, "l"))
	if status, body := d.call("PUT", "/content", at("l"), "new"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if got, _ := os.ReadFile(canary); string(got) != "safe" {
		t.Errorf("the canary has %q", got)
	}
}

func TestAMoveReplacesOnlyOnRequest(t *testing.T) {
	d := newTestHandler(t)
	for _, name := range []string{"a", "b"} {
		os.WriteFile(filepath.Join(d.dir, name), []byte(name), 0o644)
	}
	os.MkdirAll(filepath.Join(d.dir, "d/e"), 0o755)
	move := func(from, to, replace string) int {
		status, _ := d.call("POST", "/move", url.Values{"from": {from}, "to": {to}, "replace": {replace}}, "")
		return status
	}
	if got := move("a", "b", ""); got != 409 {
		t.Errorf("a move onto a file: %d", got)
	}
	if got := move("a", "b", "true"); got != 200 {
		t.Errorf("a move onto a file with replace: %d", got)
	}
	if got := move("d", "d/e/f", ""); got != 400 {
		t.Errorf("a move of a directory into itself: %d", got)
	}
	if got := move("none", "x/y", ""); got != 404 || strings.Contains(d.left(), "x") {
		t.Errorf("a move of a missing file: %d, the directory has %s", got, d.left())
	}
	if shm, err := os.MkdirTemp("/dev/shm", "cellhold"); err == nil { // another file system
		defer os.RemoveAll(shm)
		os.WriteFile(filepath.Join(d.dir, "d/e/f"), []byte("deep"), 0o600)
		if got := move("d", shm+"/moved", ""); got != 200 {
			t.Errorf("a move to another file system: %d", got)
		}
		if got, err := os.ReadFile(shm + "/moved/e/f"); err != nil || string(got) != "deep" {
			t.Errorf("%q %v", got, err)
		}
		if got := d.left(); strings.Contains(got, " d") || strings.Contains(got, "[d") {
			t.Errorf("the original still exists: %s", got)
		}
	}
}

func TestADownloadHasTheSizeOfTheFileAtTheOpen(t *testing.T) {
	d := newTestHandler(t)
	os.WriteFile(filepath.Join(d.dir, "f"), []byte("0123456789"), 0o644)
	for _, x := range []struct{ offset, length, want string }{
		{"0", "", "0123456789"}, {"3", "4", "3456"}, {"8", "99", "89"}, {"99", "1", ""},
	} {
		q := at("f")
		q.Set("offset", x.offset)
		q.Set("length", x.length)
		if _, got := d.call("GET", "/content", q, ""); got != x.want {
			t.Errorf("%+v gave %q", x, got)
		}
	}
	q := at("f")
	q.Set("version", "1-2-3")
	if status, _ := d.call("GET", "/content", q, ""); status != 409 {
		t.Errorf("another version: %d", status)
	}
}

// FuzzUnpack unpacks arbitrary bytes. All files must appear inside the directory. A refused archive must leave the
// directory empty.
func FuzzUnpack(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "d/f", Mode: 0o644, Size: 3, Typeflag: tar.TypeReg}, {Name: "l", Linkname: "d/f", Typeflag: tar.TypeSymlink}, {Name: "../x", Typeflag: tar.TypeDir},
	} {
		w.WriteHeader(&h)
		if h.Size > 0 {
			io.WriteString(w, "abc")
		}
	}
	w.Close()
	f.Add(b.Bytes())
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, archive []byte) {
		outer := t.TempDir()
		d := testHandler{t, filepath.Join(outer, "in")}
		if err := os.Mkdir(d.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		status, body := d.call("PUT", "/archive", url.Values{"path": {"."}, "limit": {"1000000"}}, string(archive))
		if status != 200 && d.left() != "[]" {
			t.Errorf("refused with %d %s, and left %s", status, body, d.left())
		}
		if status >= 500 {
			t.Errorf("%d %s", status, body)
		}
		if entries, _ := os.ReadDir(outer); len(entries) != 1 {
			t.Errorf("the directory outside has %v", entries)
		}
		filepath.WalkDir(d.dir, func(path string, e os.DirEntry, err error) error {
			if e.Type()&os.ModeSymlink != 0 {
				if target, _ := os.Readlink(path); filepath.IsAbs(target) || !strings.HasPrefix(filepath.Join(filepath.Dir(path), target), d.dir) {
					t.Errorf("%s leads to %s", path, target)
				}
			}
			return nil
		})
	})
}
