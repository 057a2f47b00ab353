package exchange

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var discard = slog.New(slog.DiscardHandler)

// idleTime is the time that the server of these tests keeps a connection.
const idleTime = 2 * time.Minute

// pipe is a listener with one connection in memory. Tests with the fake clock cannot use a network.
type pipe struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipe) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// serve starts a server with Instrument around a handler, and returns a connection to it. The returned
// function ends both.
func serve(t *testing.T, h http.HandlerFunc) (net.Conn, func()) {
	t.Helper()
	p := &pipe{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	hs := &http.Server{Handler: Instrument(discard, h), IdleTimeout: idleTime, ErrorLog: slog.NewLogLogger(discard.Handler(), 0)}
	var wg sync.WaitGroup
	wg.Go(func() { _ = hs.Serve(p) })
	near, far := net.Pipe()
	p.conns <- far
	return near, func() { near.Close(); hs.Close(); wg.Wait() }
}

func TestAReaderThatReadsNothingIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 1)
		conn, end := serve(t, func(w http.ResponseWriter, r *http.Request) {
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 1<<20))
			}
			failed <- err
		})
		defer end()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: got %v, want os.ErrDeadlineExceeded", err)
		}
		if took := time.Since(begun); took != writeTime {
			t.Errorf("Write failed after %s, want %s", took, writeTime)
		}
	})
}

func TestASlowReaderIsNotDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 10 * writePiece
		conn, end := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "655360")
			if _, err := w.Write(make([]byte, size)); err != nil {
				t.Errorf("Write: got %v, want nil", err)
			}
		})
		defer end()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for range size / writePiece {
			wait(writeTime * 2 / 3)
			if _, err := io.CopyN(io.Discard, res.Body, writePiece); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took < 3*writeTime {
			t.Errorf("the answer took %s, want at least %s", took, 3*writeTime)
		}
	})
}

// wait advances the fake clock.
func wait(d time.Duration) { <-time.After(d) }

func TestASlowBodyIsStoppedAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 1)
		conn, end := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			failed <- err
		})
		defer end()
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read of the body: got %v, want os.ErrDeadlineExceeded", err)
		}
		if took := time.Since(begun); took != BodyTime {
			t.Errorf("the read failed after %s, want %s", took, BodyTime)
		}
	})
}

func TestALongWaitAfterABodyIsNotCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, end := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				t.Error(err)
			}
			select {
			case <-r.Context().Done():
				t.Errorf("the request's context ended within %s, want no end", 3*BodyTime)
			case <-time.After(3 * BodyTime):
			}
			w.WriteHeader(http.StatusNoContent)
		})
		defer end()
		in := bufio.NewReader(conn)
		for range 2 { // the second request uses the same connection after all deadlines of the first
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != http.StatusNoContent {
				t.Fatalf("got %v, %v; want status 204", res, err)
			}
			wait(idleTime / 2)
		}
	})
}

func TestAClientThatIsStillSendingGetsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, end := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no", http.StatusForbidden) // before it reads the body
		})
		defer end()
		const size = 4 << 20
		sent := make(chan error, 1)
		go func() {
			fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
			_, err := conn.Write(make([]byte, size/2))
			wait(time.Second)
			if err == nil {
				_, err = conn.Write(make([]byte, size/2))
			}
			sent <- err
		}()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusForbidden {
			t.Fatalf("got the answer %v, %v; want 403", res, err)
		}
		if err := <-sent; err != nil {
			t.Errorf("the client could not send its body: %v", err)
		}
		if text, err := io.ReadAll(res.Body); string(text) != "no\n" || err != nil {
			t.Errorf("got the body %q, %v; want no", text, err)
		}
		wait(time.Second) // the server closes the connection
	})
}

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	log := &bytes.Buffer{}
	w := httptest.NewRecorder()
	Instrument(slog.New(slog.NewTextHandler(log, nil)), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret mistake") })).
		ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	id := w.Header().Get("X-Request-Id")
	if w.Code != 500 || id == "" || !strings.Contains(w.Body.String(), id) || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("got status %d with %s, want 500 with the id of the request and without the panic", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "secret mistake") || !strings.Contains(log.String(), id) || !strings.Contains(log.String(), "wire_test.go") {
		t.Errorf("got the log %s, want the panic, the id of the request and the stack", log)
	}
}

func TestAnIncompleteAnswerBreaksTheConnection(t *testing.T) {
	hs := httptest.NewServer(Instrument(discard, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
		panic("in the middle")
	})))
	defer hs.Close()
	hs.Config.ErrorLog = slog.NewLogLogger(discard.Handler(), 0)
	res, err := http.Get(hs.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("read of an incomplete answer: got no error, want one")
	}
}

// stopper is a connection whose body is stopped just before a read sets its deadline.
type stopper struct {
	http.ResponseWriter
	stop func()
}

func (s *stopper) SetReadDeadline(time.Time) error {
	if stop := s.stop; stop != nil {
		s.stop = nil
		stop()
	}
	return nil
}

// The read replaces the deadline that would end it.
func TestAReadThatBeginsWhileTheBodyIsStoppedEnds(t *testing.T) {
	s := &stopper{ResponseWriter: httptest.NewRecorder()}
	Instrument(discard, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.stop = func() { StopBody(r) }
		if n, err := LongBody(r).Read(make([]byte, 4)); n != 0 || err == nil {
			t.Errorf("got %d bytes, %v; want an error", n, err)
		}
	})).ServeHTTP(s, httptest.NewRequest("POST", "/", strings.NewReader("body")))
}
