package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// deputyCode is code that finds the process that works on files.
const deputyCode = `
import os
def deputy():
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            if b'cellhold-guest\0files' in open(f'/proc/{pid}/cmdline', 'rb').read(): return int(pid)
        except OSError: pass
`

// sendAll sends a request as clients do that read nothing before they have sent everything. It returns the status.
func (s *server) sendAll(t testing.TB, method, path string, body []byte, header ...string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n", method, path, s.token, len(body))
	for i := 0; i+1 < len(header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
	}
	b.WriteString("\r\n")
	b.Write(body)
	if _, err := conn.Write(b.Bytes()); err != nil {
		t.Errorf("%s %s: the request could not be sent: %v", method, path, err)
		return 0
	}
	for in := bufio.NewReader(conn); ; {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Errorf("%s %s: got no answer: %v", method, path, err)
			return 0
		}
		if res.StatusCode != http.StatusContinue {
			return res.StatusCode
		}
	}
}

func TestRefusedUploadsGetTheirRefusalAndDownloadsContinue(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t), "--max-upload", "6MiB")
	id := s.session(t, client.CreateSession{Limits: cellhold.Limits{Disk: 128 << 20}})
	const size = 16 << 20
	s.must(t, id, deputyCode+fmt.Sprintf("os.makedirs('dir'); open('big', 'wb').write(bytes(%d))", size))
	downloads := make([]io.ReadCloser, 2)
	for i := range downloads {
		r, err := s.ReadFile(t.Context(), id, "big")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		downloads[i] = r
	}
	before := s.must(t, id, "deputy()")
	rubbish, large := bytes.Repeat([]byte("rubbish "), 1<<17), make([]byte, 7<<20)
	session := "/v1/sessions/" + string(id)
	read := 0
	for i := range 60 {
		refused := []struct {
			path   string
			body   []byte
			status int
			header []string
		}{
			{session + "/files/archive?path=out", rubbish, 422, nil},
			{session + "/files/archive?path=out", rubbish, 422, []string{"Expect", "100-continue"}},
			{session + "/files/content?path=dir", rubbish, 409, nil},
			{session + "/files/content?path=/etc/x", rubbish, 403, nil},
			{session + "/files/content?path=a", large, 429, nil},
			{session + "/files/content?path=a&mode=9", rubbish, 422, nil},
			{session + "/files/nothing?path=a", rubbish, 404, nil},
			{"/v1/sessions/snone/files/content?path=a", rubbish, 404, nil},
			{"/v1/sessions", large, 405, nil},
		}
		if i%6 > 0 { // the archives in each round, the others in some
			refused = refused[:2]
		}
		for _, x := range refused {
			if got := s.sendAll(t, http.MethodPut, x.path, x.body, x.header...); got != x.status {
				t.Errorf("round %d: %s %v: got status %d, want %d", i, x.path, x.header, got, x.status)
			}
		}
		for _, r := range downloads {
			if _, err := io.CopyN(io.Discard, r, 64<<10); err != nil {
				t.Fatalf("round %d: the download broke: %v", i, err)
			}
		}
		read += 64 << 10
		if t.Failed() {
			return
		}
	}
	for _, r := range downloads {
		if n, err := io.Copy(io.Discard, r); err != nil || n != int64(size-read) {
			t.Errorf("the rest of the download has %d bytes, %v; want %d", n, err, size-read)
		}
	}
	if after := s.must(t, id, "deputy()"); after != before {
		t.Errorf("the deputy is the process %s, want the first one, %s", after, before)
	}
	if left := s.names(t, id, ""); fmt.Sprint(left) != "[big dir]" {
		t.Errorf("the refused uploads left %q, want big and dir", left)
	}
}

func TestClientsThatLeaveDuringAnUploadDoNotEndTheDeputy(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, deputyCode+"open('big', 'wb').write(bytes(16 << 20))")
	r, err := s.ReadFile(t.Context(), id, "big")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	before := s.must(t, id, "deputy()")
	for i := range 20 {
		ctx, leave := context.WithCancel(t.Context())
		body := &slow{first: bytes.NewReader(make([]byte, 1<<20)), sent: make(chan struct{}), letGo: ctx.Done()}
		ended := make(chan error, 1)
		go func() {
			if i%2 == 0 {
				ended <- s.UnpackDir(ctx, id, "out", body)
				return
			}
			_, err := s.WriteFile(ctx, id, "f", body, 0)
			ended <- err
		}()
		select { // an archive of zeros can be refused before all of it is sent
		case <-body.sent:
		case <-ended:
			ended <- nil
		}
		leave()
		<-ended
	}
	if n, err := io.Copy(io.Discard, r); err != nil || n != 16<<20 {
		t.Errorf("the download has %d bytes, %v; want all %d", n, err, 16<<20)
	}
	if after := s.must(t, id, "deputy()"); after != before {
		t.Errorf("the deputy is the process %s, want the first one, %s", after, before)
	}
}

func TestADownloadHasTheLengthThatTheFileHadWhenItBegan(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `
import os, threading
log = open('log', 'w', buffering=1); log.write('first line' + chr(10)); stop = False
def grow():
    while not stop: log.write('one more line' + chr(10))
def replace():
    n = 0
    while not stop:
        n = (n + 7) % 1000
        with open('temp', 'w') as f: f.write(chr(97 + n % 20) * (1000 + n))
        os.replace('temp', 'swapped')
with open('swapped', 'w') as f: f.write('aaa')
threads = [threading.Thread(target=f) for f in (grow, replace)]
for x in threads: x.start()`)
	length := 0
	for range 40 {
		res, body := s.raw(t, "GET", id, "/content", at("log"), nil)
		if res.StatusCode != 200 || len(body) < length || !strings.HasPrefix(string(body), "first line\none") {
			t.Fatalf("a growing file: got status %d with %d bytes, want 200 and at least %d bytes", res.StatusCode, len(body), length)
		}
		length = len(body)
		if res, body := s.raw(t, "GET", id, "/content", at("log"), nil, "Range", "bytes=0-9"); res.StatusCode != 206 || string(body) != "first line" {
			t.Fatalf("a range of a growing file: got status %d with %q, want 206 with the first line", res.StatusCode, body)
		}
		res, body = s.raw(t, "GET", id, "/content", at("swapped"), nil)
		if res.StatusCode != 200 || strings.Trim(string(body), string(body[:1])) != "" || !strings.Contains(res.Header.Get("ETag"), fmt.Sprintf("-%x-", len(body))) {
			t.Fatalf("a replaced file: got status %d, %d bytes and the ETag %s; want 200 and one file with its version", res.StatusCode, len(body), res.Header.Get("ETag"))
		}
	}
	s.must(t, id, "stop = True\nfor x in threads: x.join()\nopen('big', 'wb').write(bytes(64 << 20))")
	r, err := s.ReadFile(t.Context(), id, "big")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.must(t, id, "os.truncate('big', 1000)")
	if n, err := io.Copy(io.Discard, r); err == nil {
		t.Errorf("the download of a file that became shorter ended after %d bytes without an error, want an error", n)
	}
}

func TestNoPathOfARequestLeadsToMoreThanTheCodeReaches(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.write(t, id, "f", "x") // starts the deputy
	s.must(t, id, `
import os
for n in range(60): os.symlink(f'/proc/self/fd/{n}', f'fd{n}')
os.symlink('/proc/1/root', 'root')
open('script', 'w').write('#!/proc/self/fd/7/sh' + chr(10)); os.chmod('script', 0o755)`)
	// The code itself can reach none of these paths, and for its own process other ones.
	if got := s.must(t, id, `
def reach(p):
    try: os.listdir(p)
    except OSError as e: return e.errno
[p for p in ('/proc/1/root', '/proc/1/cwd', '/proc/1/fd', '/proc/1/task/1/root') if reach(p) != 13]`); got != "[]" {
		t.Fatalf("the code reaches %s, want none", got)
	}
	links := []string{"/proc/1/root", "/proc/1/cwd", "/proc/1/root/workspace", "/proc/1/task/1/root", "/proc/1/fd/7", "root", "/proc/thread-self/fd/7"}
	for n := range 60 {
		links = append(links, fmt.Sprintf("/proc/self/fd/%d", n), fmt.Sprintf("fd%d", n))
	}
	for i, link := range links {
		if c := s.command(t, id, client.Run{Args: []string{"pwd"}, Dir: link}); c.Code != 126 {
			t.Errorf("a command in %s: got code %d and the directory %q, want 126", link, c.Code, c.Stdout.Text)
		}
		if !strings.Contains(link, "root") && i%8 != 0 {
			continue
		}
		for _, x := range []struct{ method, route, query string }{
			{"GET", "", "path=" + link}, {"GET", "/content", "path=" + link}, {"GET", "/content", "path=" + link + "/etc/passwd"},
			{"GET", "/archive", "path=" + link}, {"GET", "/watch", "recursive=true&path=" + link}, {"PUT", "/content", "path=" + link + "/tmp/x"},
			{"PUT", "/archive", "path=" + link + "/tmp/x"}, {"POST", "/directory", "path=" + link + "/tmp/x"}, {"POST", "/move", "from=f&to=" + link + "/tmp/x"},
			{"POST", "/move", "to=g&from=" + link + "/etc/passwd"}, {"DELETE", "", "recursive=true&path=" + link + "/tmp/x"},
		} {
			var body []byte
			if x.method == "PUT" {
				body = tarOf(t)
			}
			if got := s.sendAll(t, x.method, "/v1/sessions/"+string(id)+"/files"+x.route+"?"+x.query, body); got < 400 || got >= 500 {
				t.Errorf("%s %s %s: got status %d, want 4xx", x.method, x.route, x.query, got)
			}
		}
	}
	for _, run := range []client.Run{
		{Args: []string{"/proc/self/fd/7/sh"}}, {Args: []string{"root/bin/sh"}}, {Args: []string{"./script"}},
		{Args: []string{"sh"}, Env: map[string]string{"PATH": "/proc/1/root/bin:/proc/self/fd/7:fd7"}},
	} {
		if c := s.command(t, id, run); c.Code != 126 && c.Code != 127 {
			t.Errorf("%q with the environment %v: got code %d and %q, want 126 or 127", run.Args, run.Env, c.Code, c.Stdout.Text)
		}
	}
	if _, err := s.AddKernel(t.Context(), id, "/proc/self/fd/7", "other"); err == nil {
		t.Error("a kernelspec with a path as its name was accepted, want an error")
	}
	for _, at := range []string{"/proc/self/cwd", "/proc/thread-self/cwd", "/proc/self/root"} { // of the command's own process
		c := s.command(t, id, client.Run{Args: []string{"pwd", "-P"}, Dir: at})
		if dir := strings.TrimSpace(c.Stdout.Text); c.Code != 126 && dir != "/" && dir != "/workspace" {
			t.Errorf("a command in %s has the directory %q, want / or /workspace", at, dir)
		}
	}
	for _, dir := range []string{"/proc/1/root/etc", "/proc/1/root/none"} {
		if c := s.command(t, id, client.Run{Args: []string{"pwd"}, Dir: dir}); !strings.Contains(c.Cause, "permission denied") {
			t.Errorf("a command in %s, below a directory that the code cannot enter: got %q, want permission denied", dir, c.Cause)
		}
	}
}
