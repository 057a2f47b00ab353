package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// raw sends one request about files without the Go client.
func (s *server) raw(t testing.TB, method string, id cellhold.SessionID, route string, query url.Values, body io.Reader, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+"/v1/sessions/"+string(id)+"/files"+route+"?"+query.Encode(), body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, b
}

func at(path string) url.Values { return url.Values{"path": {path}} }

func TestADownloadIsAnAttachmentAndSupportsRanges(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	f := s.write(t, id, "page.html", "<script>alert(1)</script>0123456789")
	res, body := s.raw(t, "GET", id, "/content", at("page.html"), nil)
	if res.StatusCode != 200 || len(body) != 35 || res.Header.Get("Content-Type") != "application/octet-stream" ||
		res.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("got status %d with %d bytes and %v, want 200 with 35 bytes as an attachment", res.StatusCode, len(body), res.Header)
	}
	etag := res.Header.Get("ETag")
	if etag != `"`+f.Version+`"` {
		t.Errorf("got the ETag %s, want the version %s in quotes", etag, f.Version)
	}
	for _, x := range []struct {
		ask    []string
		status int
		want   string
	}{
		{[]string{"Range", "bytes=25-"}, 206, "0123456789"},
		{[]string{"Range", "bytes=-3"}, 206, "789"},
		{[]string{"Range", "bytes=25-27", "If-Range", etag}, 206, "012"},
		{[]string{"Range", "bytes=25-27", "If-Range", `"other"`}, 200, "<script>alert(1)</script>0123456789"},
		{[]string{"Range", "bytes=99-"}, 416, ""},
		{[]string{"If-None-Match", etag}, 304, ""},
	} {
		res, body := s.raw(t, "GET", id, "/content", at("page.html"), nil, x.ask...)
		if res.StatusCode != x.status || x.want != "" && string(body) != x.want {
			t.Errorf("%v: got status %d with %q, want %d with %q", x.ask, res.StatusCode, body, x.status, x.want)
		}
	}
	if res, _ := s.raw(t, "HEAD", id, "/content", at("page.html"), nil); res.ContentLength != 35 {
		t.Errorf("HEAD reports %d bytes, want 35", res.ContentLength)
	}
	s.must(t, id, "import os; os.chmod('/workspace/page.html', 0)")
	for _, ask := range [][]string{nil, {"Range", "bytes=25-27"}, {"Range", "bytes=25-27", "If-Range", etag}} {
		res, body := s.raw(t, "GET", id, "/content", at("page.html"), nil, ask...)
		if res.StatusCode != 403 || !strings.Contains(string(body), `"denied"`) || res.Header.Get("Content-Range") != "" {
			t.Errorf("an unreadable file with %v: got status %d with %v and %s, want 403 denied", ask, res.StatusCode, res.Header, body)
		}
	}
}

func TestAFormUploadsSeveralFilesIntoADirectory(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for name, content := range map[string]string{"a.csv": "1,2", "größe.bin": "\x00\xff", "../../etc/passwd": "x"} {
		part, err := w.CreateFormFile("file", name)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(part, content)
	}
	w.Close()
	res, body := s.raw(t, "POST", id, "", at("in/here"), &form, "Content-Type", w.FormDataContentType())
	if res.StatusCode != 200 {
		t.Fatalf("the upload: got status %d with %s, want 200", res.StatusCode, body)
	}
	if got := s.names(t, id, "in/here"); !slices.Equal(got, []string{"a.csv", "größe.bin", "passwd"}) {
		t.Errorf("the directory has %q, want a.csv, größe.bin and passwd", got)
	}
	if got := s.read(t, id, "in/here/größe.bin"); got != "\x00\xff" {
		t.Errorf("the file has %q, want %q", got, "\x00\xff")
	}
}

func TestHostilePathsAreRefusedWithTheirKinds(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import os, socket\nos.mkfifo('fifo'); s = socket.socket(socket.AF_UNIX); s.bind('sock'); os.symlink('/proc/self/environ', 'env'); os.symlink('loop', 'loop')")
	for _, x := range []struct {
		path string
		want cellhold.Kind
	}{
		{"../workspace/x", cellhold.Invalid}, {"a/../../etc/passwd", cellhold.Invalid}, {"/workspace/../etc/shadow", cellhold.Invalid},
		{"x\x00.txt", cellhold.Invalid}, {strings.Repeat("a", 256), cellhold.Invalid}, {strings.Repeat("a/", 200) + "b", cellhold.Invalid},
		{strings.Repeat("abcdefgh/", 600), cellhold.Invalid}, {"nothing here", cellhold.NotFound},
		{"/proc/1/mem", cellhold.Denied}, {"/proc/1/environ", cellhold.Denied}, {"/proc/self/mem", cellhold.Denied}, {"env", cellhold.Denied},
		{"/proc/self/fd/0", cellhold.Denied}, {"/run/cellhold", cellhold.Conflict}, {"/dev/zero", cellhold.Denied}, {"/dev/null", cellhold.Denied}, {"/dev/stdin", cellhold.Denied},
		{"fifo", cellhold.Denied}, {"sock", cellhold.Denied}, {"loop", cellhold.Invalid}, {".", cellhold.Conflict},
	} {
		begun := time.Now()
		r, err := s.ReadFile(t.Context(), id, x.path)
		if err == nil {
			r.Close()
		}
		if got := cellhold.KindOf(err); got != x.want {
			t.Errorf("read %.40q: got %v, want kind %s", x.path, err, x.want)
		}
		if took := time.Since(begun); took > 20*time.Second { // a blocked request never ends
			t.Errorf("the read of %.40q took %s, want at most 20s", x.path, took)
		}
	}
	for path, want := range map[string]cellhold.Kind{
		"/etc/passwd2": cellhold.Denied, "/usr/bin/python3": cellhold.Denied, "/mnt/data/x": cellhold.Denied, "/proc/1/oom_score_adj": cellhold.Denied,
		"/run/cellhold/x": cellhold.Denied, "/opt/cellhold/bin/cellhold-guest": cellhold.Denied, "/": cellhold.Invalid, "/workspace": cellhold.Invalid, "../x": cellhold.Invalid,
	} {
		if _, err := s.WriteFile(t.Context(), id, path, strings.NewReader("x"), 0); cellhold.KindOf(err) != want {
			t.Errorf("write %q: got %v, want kind %s", path, err, want)
		}
		if err := s.RemoveFile(t.Context(), id, path, true); err == nil {
			t.Errorf("remove %q: got no error, want one", path)
		}
	}
	if _, err := s.ListDir(t.Context(), id, "/run/cellhold"); cellhold.KindOf(err) != cellhold.Denied {
		t.Errorf("list the agent's folder: got %v, want kind denied", err)
	}
	if got := s.must(t, id, "1 + 1"); got != "2" {
		t.Errorf("after the requests the kernel prints %q, want 2", got)
	}
}

// User code exchanges a directory and links all the time, while the host uses paths through that directory.
func TestSwappedLinksGiveNoMoreAccessThanTheCodeHas(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `
import ctypes, os, threading, time
libc = ctypes.CDLL(None)
os.makedirs('real/sub'); open('real/f', 'w').write('mine')
os.symlink('/proc/1', 'evil'); os.symlink('/run/cellhold', 'evil2'); os.symlink('/etc', 'evil3')
os.makedirs('d/sub'); open('d/f', 'w').write('mine')
stop, flips = False, 0
def flip():
    global flips
    while not stop:
        for other in ('evil', 'evil2', 'evil3'):
            libc.renameat2(-100, b'd', -100, other.encode(), 2)  # exchange, in one step
            libc.renameat2(-100, b'd', -100, other.encode(), 2)
            flips += 2
thread = threading.Thread(target=flip); thread.start()`)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	done := make([]int, 6)
	works := []func(i int){
		func(i int) { s.WriteFile(ctx, id, "d/planted", strings.NewReader("planted"), 0) },
		func(i int) {
			if list, err := s.ListDir(ctx, id, "d"); err == nil {
				for _, f := range list {
					if strings.Contains(f.Path, "kernel.json") || strings.Contains(f.Path, "/d/python3-") {
						t.Errorf("the list contains %s, want no file of the agent's folder", f.Path)
					}
				}
			}
		},
		func(i int) { s.StatFile(ctx, id, "d/environ") },
		func(i int) {
			for _, name := range []string{"d/f", "d/environ", "d/mem", "d/shadow"} {
				if r, err := s.ReadFile(ctx, id, name); err == nil {
					b, _ := io.ReadAll(r)
					r.Close()
					if string(b) != "mine" && len(b) > 0 {
						t.Errorf("%s returned %.80q, want mine or 0 bytes", name, b)
					}
				}
			}
		},
		func(i int) { s.MoveFile(ctx, id, "d/planted", "d/moved", true) },
		func(i int) {
			s.RemoveFile(ctx, id, "d/sub", true)
			s.RemoveFile(ctx, id, "d/passwd", false)
			s.MakeDir(ctx, id, "d/made/deep")
			s.UnpackDir(ctx, id, "d/made", bytes.NewReader(tarOf(t, tar.Header{Name: "x/y", Mode: 0o644})))
		},
	}
	var wg sync.WaitGroup
	for n, work := range works {
		wg.Go(func() {
			for ; ctx.Err() == nil; done[n]++ {
				work(done[n])
			}
		})
	}
	wg.Wait()
	got := python[struct {
		Flips int
		Etc   []string
		Run   string
	}](t, s, id, `
import json
stop = True; thread.join()
etc = [n for n in os.listdir('/etc') if n in ('planted', 'moved', 'made')]
try: run = str(os.listdir('/run/cellhold'))
except OSError as e: run = type(e).__name__
print(json.dumps(dict(Flips=flips, Etc=etc, Run=run)))`)
	t.Logf("%d flips; upload, list, stat, download, move and remove %v times", got.Flips, done)
	if len(got.Etc) != 0 || got.Run != "PermissionError" {
		t.Errorf("got the new files %v in /etc and %s for the agent's folder, want 0 and PermissionError", got.Etc, got.Run)
	}
	if got.Flips < 1000 || slices.Min(done) < 10 {
		t.Errorf("got %d swaps and %v requests, want at least 1000 and 10: otherwise the test shows nothing", got.Flips, done)
	}
	if passwd := s.must(t, id, "print(open('/etc/passwd').read().count('root'), end='')"); passwd == "0" {
		t.Error("/etc/passwd does not contain root, want the file of the image")
	}
}

func TestAFullDiskIsReportedAndTheUploadLeavesNoFile(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{Limits: cellhold.Limits{Disk: 32 << 20}})
	for _, known := range []bool{true, false} {
		var body io.Reader = bytes.NewReader(make([]byte, 40<<20))
		if !known {
			body = io.MultiReader(body)
		}
		_, err := s.WriteFile(t.Context(), id, "big", body, 0)
		if cellhold.KindOf(err) != cellhold.Exhausted || !strings.Contains(err.Error(), "disk is full") {
			t.Errorf("size known %t: got %v, want kind exhausted and \"disk is full\"", known, err)
		}
		if left := s.must(t, id, "import os; os.listdir('.')"); left != "[]" {
			t.Errorf("size known %t: the upload left %s, want []", known, left)
		}
	}
	s.write(t, id, "small", "fits")
}

// slow is the body of a request. It gives some bytes, closes sent, and blocks until letGo is closed.
type slow struct {
	first  *bytes.Reader
	sent   chan struct{}
	letGo  <-chan struct{}
	closed sync.Once
}

func (b *slow) Read(p []byte) (int, error) {
	if n, err := b.first.Read(p); err == nil {
		return n, nil
	}
	b.closed.Do(func() { close(b.sent) })
	<-b.letGo
	return 0, io.ErrUnexpectedEOF
}

func TestAnAbortedUploadLeavesNoFile(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	ctx, leave := context.WithCancel(t.Context())
	body := &slow{first: bytes.NewReader(make([]byte, 3<<20)), sent: make(chan struct{}), letGo: ctx.Done()}
	ended := make(chan error, 1)
	go func() {
		_, err := s.WriteFile(ctx, id, "f", body, 0)
		ended <- err
	}()
	<-body.sent
	if got := s.must(t, id, "import os, time\nfor _ in range(100):\n  if os.listdir('.'): break\n  time.sleep(0.05)\nprint(len(os.listdir('.')), os.path.exists('f'), end='')"); got != "1 False" {
		t.Errorf("during the upload: (files, f exists) is %s, want 1 False", got)
	}
	leave()
	if err := <-ended; err == nil {
		t.Error("the aborted upload: got no error, want one")
	}
	if got := s.must(t, id, "for _ in range(100):\n  if not os.listdir('.'): break\n  time.sleep(0.05)\nos.listdir('.')"); got != "[]" {
		t.Errorf("the aborted upload left %s, want %s", got, "[]")
	}
}

func TestADeputyThatIsKilledOrStoppedIsReplaced(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.write(t, id, "f", strings.Repeat("x", 1000))
	s.must(t, id, `
import os, signal
def deputy():
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            if b'cellhold-guest\0files' in open(f'/proc/{pid}/cmdline', 'rb').read(): return int(pid)
        except OSError: pass
def state(): return [l for l in open(f'/proc/{deputy()}/status') if l[:3] in ('Uid', 'Cap', 'NoN')]`)
	if got := s.must(t, id, "os.kill(deputy(), signal.SIGKILL)"); got != "" {
		t.Fatal(got)
	}
	for try := 0; ; try++ {
		if _, err := s.StatFile(t.Context(), id, "f"); err == nil {
			break
		} else if cellhold.KindOf(err) != cellhold.Unavailable || try > 5 {
			t.Fatalf("after the kill: got %v, want an answer after some errors of kind unavailable", err)
		}
	}
	if got := s.must(t, id, "print(''.join(state()), end='')"); strings.Contains(got, "Uid:\t0") || strings.Count(got, "0000000000000000") != 5 || !strings.Contains(got, "1000\t1000\t1000\t1000") {
		t.Errorf("the deputy runs as\n%s\nwant uid 1000 without capabilities", got)
	}
	s.must(t, id, "os.kill(deputy(), signal.SIGSTOP)")
	begun := time.Now()
	r, err := s.ReadFile(t.Context(), id, "f")
	if err == nil {
		_, err = io.ReadAll(r)
		r.Close()
	}
	t.Logf("a stopped deputy: %v after %s", err, time.Since(begun))
	if took := time.Since(begun); err == nil || took > 40*time.Second {
		t.Errorf("the read from a stopped deputy took %s: %v; want an error within 40 s", took, err)
	}
	if got := s.read(t, id, "f"); len(got) != 1000 {
		t.Errorf("after the replacement the file has %d bytes, want 1000", len(got))
	}
}

func TestAWatchReportsChangesAlsoInNewDirectories(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, seen := make(chan struct{}), make(chan cellhold.FileChange, 100)
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(seen)
		for change, err := range s.WatchDir(ctx, id, "", true) {
			if err != nil {
				failed = err
				return
			}
			if change.Type == "" {
				close(ready)
				continue
			}
			seen <- change
		}
	})
	<-ready
	await := func(want string) {
		t.Helper()
		for {
			select {
			case c, ok := <-seen:
				if !ok {
					t.Fatalf("the watch ended with %v, want the change %s", failed, want)
				}
				if string(c.Type)+" "+c.Exact() == want {
					return
				}
				t.Logf("reported: %s %s", c.Type, c.Path)
			case <-time.After(time.Minute):
				t.Fatalf("got no further change within a minute, want %s", want)
			}
		}
	}
	s.must(t, id, "open('a', 'w').write('1')")
	await("created /workspace/a")
	s.must(t, id, "open('a', 'a').write('2')")
	await("modified /workspace/a")
	s.must(t, id, "import os; os.makedirs('new/deep'); open(b'new/deep/\\xff', 'w').write('3')")
	await("created /workspace/new/deep/\xff")
	s.must(t, id, "os.rename('new/deep', 'moved'); open('moved/b', 'w').close()")
	await("created /workspace/moved/b")
	s.must(t, id, "os.unlink('a')")
	await("removed /workspace/a")
	s.write(t, id, "uploaded", "x")
	await("created /workspace/uploaded")
	stop()
	go func() {
		for range seen { // read the remaining changes
		}
	}()
	wg.Wait()
	if failed != nil && ctx.Err() == nil {
		t.Errorf("the watch ended with %v, want no error", failed)
	}
}

func TestARecursiveWatchWorksUpToItsLimitAndThenNamesIt(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `
import os
for i in range(80):
    for k in range(100): os.makedirs(f'tree/{i}/{k}')
for i in range(10_000): open(f'tree/{i}.txt', 'w').close()`)
	var failed error
	changed := map[string]bool{}
	for change, err := range s.WatchDir(t.Context(), id, "tree", true) {
		if failed = err; err != nil {
			break
		}
		changed[string(change.Type)+" "+change.Exact()] = true
		switch {
		case change.Type == "": // ready
			s.must(t, id, "open('tree/79/99/deep', 'w').close()")
		case change.Exact() == "/workspace/tree/79/99/deep":
			s.must(t, id, "for i in range(2000): os.mkdir(f'tree/0/more{i}')")
		}
	}
	if !changed["created /workspace/tree/79/99/deep"] || !changed["overflow "] || cellhold.KindOf(failed) != cellhold.Unavailable {
		t.Errorf("the watch of 8000 directories ended with %v after %d changes; want a change in the last directory, an overflow, and then kind unavailable", failed, len(changed))
	}
	s.must(t, id, "os.makedirs('high/' + 110 * 'd/')")
	for dir, limit := range map[string]string{"tree": "limited to 10000 directories", "high": "depth of 100 directories"} {
		for _, err := range s.WatchDir(t.Context(), id, dir, true) {
			if cellhold.KindOf(err) != cellhold.Exhausted || !strings.Contains(err.Error(), limit) || !strings.Contains(err.Error(), "without recursive") {
				t.Errorf("a watch of %s: got %v, want kind exhausted, %q and the remedy", dir, err, limit)
			}
			break
		}
	}
}

// flow is a reader of pseudo-random bytes. It does not store them.
type flow struct {
	left int64
	seed uint64
}

func (f *flow) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), f.left))
	for i := range n {
		f.seed = f.seed*6364136223846793005 + 1442695040888963407
		p[i] = byte(f.seed >> 56)
	}
	f.left -= int64(n)
	return n, nil
}

func TestLargeTransfersUseAtMost64MiBOfServerMemory(t *testing.T) {
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.write(t, id, "warm", "up")
	const size = 256 << 20
	before := s.peak(t)
	begun := time.Now()
	up := sha256.New()
	if _, err := s.WriteFile(t.Context(), id, "big", io.TeeReader(&flow{left: size}, up), 0); err != nil {
		t.Fatal(err)
	}
	went := time.Since(begun)
	begun = time.Now()
	r, err := s.ReadFile(t.Context(), id, "big")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	down := sha256.New()
	n, err := io.Copy(down, r)
	if err != nil || n != size || !bytes.Equal(up.Sum(nil), down.Sum(nil)) {
		t.Errorf("downloaded %d bytes, %v, %s; want the %d uploaded bytes", n, err, hex.EncodeToString(down.Sum(nil)), size)
	}
	grown := s.peak(t) - before
	t.Logf("up %.0f MB/s, down %.0f MB/s, the server's peak grew by %d MiB", size/1e6/went.Seconds(), size/1e6/time.Since(begun).Seconds(), grown>>20)
	if grown > 64<<20 {
		t.Errorf("the server's memory grew by %d MiB, want at most 64", grown>>20)
	}
}

// peak returns the server's peak memory so far, in bytes.
func (s *server) peak(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(s.cmd.Process.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

func TestACellListsTheFilesThatItWrote(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.write(t, id, "uploaded", "x")
	list := func(c cellhold.Cell) string {
		got := []string{}
		for _, f := range c.Files {
			got = append(got, fmt.Sprint(f.Exact(), " ", f.Size))
		}
		return strings.Join(got, ", ")
	}
	c := s.run(t, id, "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('123'); open('/mnt/data/output/größe', 'w').write('1'); open(b'\\xff', 'w').write('22')\nopen('/tmp/elsewhere', 'w').write('x'); open('gone', 'w'); os.unlink('gone'); os.symlink('/etc/passwd', 'link')")
	if got := list(c); got != "/mnt/data/output/größe 1, /workspace/a/b/c 3, /workspace/\xff 2" || c.MoreFiles {
		t.Errorf("the cell lists %q, more %t; want the 3 files of the session, false", got, c.MoreFiles)
	}
	if c := s.run(t, id, "1"); len(c.Files) != 0 {
		t.Errorf("a cell that wrote no file lists %s, want no file", list(c))
	}
	if c := s.run(t, id, "open('uploaded', 'a').write('y'); 1/0"); list(c) != "/workspace/uploaded 2" {
		t.Errorf("a cell that changed a file lists %s, want /workspace/uploaded", list(c))
	}
	if c := s.run(t, id, "open('last', 'w').write('words'); os._exit(3)"); list(c) != "/workspace/last 5" {
		t.Errorf("a cell whose kernel died lists %s, want /workspace/last", list(c))
	}
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if c := s.run(t, id, "for i in range(300): open(f'{i}', 'w').write('x')"); len(c.Files) != 100 || !c.MoreFiles {
		t.Errorf("a cell that wrote 300 files lists %d, more %t; want 100, true", len(c.Files), c.MoreFiles)
	}
	if again, err := s.Cell(t.Context(), id, c.ID); err != nil || list(again) != list(c) {
		t.Errorf("the stored cell lists %s (%v), want %s", list(again), err, list(c))
	}
}

func TestCpCopiesInBothDirections(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	dir := t.TempDir()
	cp := func(from, to string) string {
		t.Helper()
		cmd := exec.Command(binary(t), "--home", s.home, "cp", "--url", s.url, from, to)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("cp %s %s: %v: %s", from, to, err, out)
		}
		return string(out)
	}
	if err := os.MkdirAll(filepath.Join(dir, "p", "größe"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"p/größe/1": "one", "p/2": "two"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cp(filepath.Join(dir, "p", "2"), string(id)+":new/name")
	cp(filepath.Join(dir, "p", "2"), string(id)+":")
	cp(filepath.Join(dir, "p"), string(id)+":/workspace")
	cp(filepath.Join(dir, "p")+"/.", string(id)+":flat")
	if got := s.must(t, id, "import os\nprint(sorted(os.path.join(d, n) for d, _, ns in os.walk('.') for n in ns), end='')"); got != "['./2', './flat/2', './flat/größe/1', './new/name', './p/2', './p/größe/1']" {
		t.Errorf("the session has %s, want %s", got, "['./2', './flat/2', './flat/größe/1', './new/name', './p/2', './p/größe/1']")
	}
	s.must(t, id, "os.symlink('/etc/passwd', 'p/evil'); os.symlink('2', 'p/good'); os.mkfifo('p/pipe')")
	said := cp(string(id)+":p", dir+"/back")
	if !strings.Contains(said, "evil") {
		t.Errorf("cp prints %q, want a note about the link evil", said)
	}
	if _, err := os.Lstat(filepath.Join(dir, "back", "evil")); err == nil {
		t.Error("the link evil exists in the copy, want no link out of the directory")
	}
	if got, err := os.ReadFile(filepath.Join(dir, "back", "good")); err != nil || string(got) != "two" {
		t.Errorf("back/good: got %q, %v; want two", got, err)
	}
	cp(string(id)+":p/größe/1", dir)
	if got, err := os.ReadFile(filepath.Join(dir, "1")); err != nil || string(got) != "one" {
		t.Errorf("1: got %q, %v; want one", got, err)
	}
}
