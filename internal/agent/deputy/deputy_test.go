package deputy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cellhold/internal/agent/upload"
)

// local is a deputy that runs in the test's process.
type local struct {
	done chan struct{}
	once sync.Once
	stop func()
}

func (l *local) Done() <-chan struct{} { return l.done }
func (l *local) Kill()                 { l.once.Do(l.stop); <-l.done }

// start serves a proxy whose deputies are local. started counts the deputies.
func start(t *testing.T, o Options, h http.Handler) (url string, started *atomic.Int32) {
	t.Helper()
	started = new(atomic.Int32)
	o.Start = func(control *os.File) (Process, error) {
		started.Add(1)
		fd, err := syscall.Dup(int(control.Fd()))
		if err != nil {
			return nil, err
		}
		mine := os.NewFile(uintptr(fd), "control")
		l := &local{done: make(chan struct{})}
		server := &http.Server{Handler: upload.Handler(h)}
		conn, err := asConn(mine)
		if err != nil {
			return nil, err
		}
		l.stop = func() { server.Close() }
		go func() {
			defer close(l.done)
			server.Serve(&listener{control: conn.(*net.UnixConn)})
		}()
		return l, nil
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(upload.Handler(p))
	t.Cleanup(func() { s.Close(); p.Close() })
	return s.URL, started
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, err.Error()
	}
	return res.StatusCode, string(b)
}

func TestOneDeputyAnswersAllRequests(t *testing.T) {
	url, started := start(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, io.MultiReader(strings.NewReader(r.URL.RawQuery+" "), r.Body))
	}))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if status, body := get(t, url+"/x?q=%FF"); status != 200 || body != "q=%FF " {
				t.Errorf("%d %q", status, body)
			}
		})
	}
	wg.Wait()
	big := bytes.Repeat([]byte("0123456789"), 1<<20)
	res, err := http.Post(url+"/y", "x", bytes.NewReader(big))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(b[1:], big) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if started.Load() != 1 {
		t.Errorf("%d deputies were started", started.Load())
	}
}

func TestADeputyThatDoesNotAnswerIsReplaced(t *testing.T) {
	var stuck atomic.Bool
	stuck.Store(true)
	url, started := start(t, Options{Stall: 200 * time.Millisecond}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stuck.Swap(false) {
			<-r.Context().Done()
			return
		}
		io.WriteString(w, "fine")
	}))
	if status, body := get(t, url); status != http.StatusServiceUnavailable || !strings.Contains(body, "Try again") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get(t, url); status != 200 || body != "fine" {
		t.Errorf("the next request: %d %s", status, body)
	}
	if started.Load() != 2 {
		t.Errorf("%d deputies were started", started.Load())
	}
}

func TestAnAnswerThatStopsInTheMiddleIsAnError(t *testing.T) {
	url, _ := start(t, Options{Stall: 200 * time.Millisecond}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	if _, body := get(t, url); !strings.Contains(body, "EOF") {
		t.Errorf("the answer ended without an error: %q", body)
	}
}

// download is a download in progress. The handler held serves it.
type download struct {
	res  *http.Response
	rest chan struct{} // closed when the second half can be sent
}

// held serves a download at /download, in two halves, and everything else with other.
func held(rest chan struct{}, other http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/download" {
			other(w, r)
			return
		}
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		<-rest
		io.WriteString(w, "whole")
	})
}

// begin starts a download and reads its first half.
func begin(t *testing.T, url string, rest chan struct{}) *download {
	t.Helper()
	res, err := http.Get(url + "/download")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	return &download{res, rest}
}

// finish checks that the download is complete, and that one deputy did all work.
func (d *download) finish(t *testing.T, started *atomic.Int32) {
	t.Helper()
	close(d.rest)
	if b, err := io.ReadAll(d.res.Body); string(b) != "whole" || err != nil {
		t.Errorf("the download ended with %q, %v; want whole, no error", b, err)
	}
	if started.Load() != 1 {
		t.Errorf("%d deputies were started, want 1", started.Load())
	}
}

func TestRefusedUploadsGetTheirRefusalAndDownloadsContinue(t *testing.T) {
	rest := make(chan struct{})
	url, started := start(t, Options{}, held(rest, func(w http.ResponseWriter, r *http.Request) {
		io.CopyN(io.Discard, r.Body, 4<<10)
		http.Error(w, "no archive", http.StatusUnprocessableEntity)
	}))
	d := begin(t, url, rest)
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	defer client.CloseIdleConnections()
	rubbish := make([]byte, 1<<20)
	for i := range 60 {
		req, _ := http.NewRequest(http.MethodPut, url+"/archive", bytes.NewReader(rubbish))
		req.Header.Set("Expect", "100-continue")
		res, err := client.Do(req)
		if err != nil {
			t.Fatalf("upload %d got no answer: %v", i, err)
		}
		if res.Body.Close(); res.StatusCode != http.StatusUnprocessableEntity {
			t.Fatalf("upload %d got the status %d, want 422", i, res.StatusCode)
		}
	}
	d.finish(t, started)
}

func TestAFailedRequestDoesNotEndTheDeputy(t *testing.T) {
	rest, reading := make(chan struct{}), make(chan struct{})
	url, started := start(t, Options{}, held(rest, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		io.ReadFull(r.Body, make([]byte, 1))
		reading <- struct{}{}
		io.Copy(io.Discard, r.Body)
		reading <- struct{}{}
	}))
	d := begin(t, url, rest)
	for range 20 { // senders that leave in the middle of an upload
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegin")
		<-reading
		conn.Close()
		<-reading
	}
	if status, body := get(t, url+"/abort"); status != http.StatusServiceUnavailable {
		t.Errorf("a request whose connection broke got %d %s, want 503", status, body)
	}
	d.finish(t, started)
}

func TestADeputyThatCannotStartIsReported(t *testing.T) {
	p, err := New(Options{Start: func(*os.File) (Process, error) { return nil, errors.New("no memory") }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "no memory") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
