package contents

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/memory"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
)

// box is a sandbox whose agent is a function of the test.
type box struct{ sandbox.Sandbox }

func (box) ID() sandbox.ID { return "box" }

// journal is the empty journal of a session.
type journal struct{ attachment.Journal }

func (journal) Commands(context.Context, cellhold.SessionID) iter.Seq2[record.Command, error] {
	return func(func(record.Command, error) bool) {}
}

func (journal) Cursor(context.Context, cellhold.SessionID, cellhold.KernelID, string) (int64, error) {
	return 0, nil
}

// dialed is a listener for the connections of a client in the same bubble.
type dialed struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l dialed) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l dialed) Close() error   { return nil }
func (l dialed) Addr() net.Addr { return &net.TCPAddr{} }

// newBox returns a sandbox whose agent says that each file has one byte. content answers a request for the content of a
// file.
func newBox(t *testing.T, content http.HandlerFunc) entered {
	t.Helper()
	l := dialed{make(chan net.Conn), make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/files/content", content)
	mux.HandleFunc("/v1/files/stat", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(guestapi.Entry{Path: "/workspace/a", Name: "a", Type: "file", Size: 1, Mode: 0o644, Version: "1"})
	})
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(l) }() // ends with done
	client, err := guest.New(guest.Options{Dial: func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		l.conns <- theirs
		return ours, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := attachment.Attach(t.Context(), t.Context(), box{}, attachment.Options{MaxUpload: 1 << 30, Journal: journal{},
		Greeted: func(sandbox.ID) (*guest.Client, guestapi.Info) {
			return client, guestapi.Info{Boot: "b", Version: guestapi.Version}
		}}, attachment.Request{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(nil); close(l.done); srv.Close() })
	return entered{a, "s", "ann"}
}

// answered is the answer to a request.
type answered struct {
	strings.Builder
	status int
}

func (*answered) Header() http.Header      { return http.Header{} }
func (a *answered) WriteHeader(status int) { a.status = status }

// fileA is the file of the sandbox.
var fileA = place{folder: "f", inside: "a"}

func (s *Server) getA(t *testing.T, in entered) (*answered, error) {
	var w answered
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/api/contents/f/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	return &w, s.get(&w, r, in, fileA, query{content: true, kind: typeFile})
}

// isFree reports whether no request has memory.
func (s *Server) isFree() bool {
	share := s.shares.all.Empty()
	defer share.Release()
	return share.Resize(budget) && len(s.shares.of) == 0
}

func TestAFileThatGrewAfterItsMemoryWasTakenIsRefused(t *testing.T) {
	for size, kind := range map[int]cellhold.Kind{0: "", 1: "", 1 + spare: "", 2 + spare: cellhold.Conflict, maxDocument: cellhold.Conflict} {
		synctest.Test(t, func(t *testing.T) {
			s := New(Options{})
			in := newBox(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("ETag", `"2"`)
				w.Header().Set("Content-Length", strconv.Itoa(size))
				_, _ = io.WriteString(w, strings.Repeat("#", size)) // the client leaves if it refuses the file
			})
			w, err := s.getA(t, in)
			if (err == nil) != (kind == "") || err != nil && cellhold.KindOf(err) != kind {
				t.Errorf("%d bytes: got %v, want the kind %q", size, err, kind)
			}
			if n := strings.Count(w.String(), "#"); err == nil && n != size {
				t.Errorf("got %d bytes of the content, want %d", n, size)
			}
			if !s.isFree() {
				t.Error("the request still has memory")
			}
		})
	}
}

// stall is a pause of a sandbox that is short enough for one transfer.
const stall = 80 * time.Second

func TestASlowSandboxEndsARequestForADocument(t *testing.T) {
	for name, do := range map[string]func(*Server, *http.Request, entered) error{
		"read": func(s *Server, r *http.Request, in entered) error {
			return s.get(new(answered), r, in, fileA, query{content: true, kind: typeFile})
		},
		"write": func(s *Server, r *http.Request, in entered) error {
			return s.hold(r, "ann", 1<<20, func(r *http.Request) error {
				_, err := put(r.Context(), in, fileA, typeFile, make([]byte, 1<<20))
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Options{})
				in := newBox(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("ETag", `"2"`)
					if r.Method == http.MethodGet {
						w.Header().Set("Content-Length", "100")
					}
					for range 100 { // each byte starts the time without an answer again
						var err error
						if r.Method == http.MethodPut {
							_, err = io.CopyN(io.Discard, r.Body, 32<<10)
						} else if _, err = io.WriteString(w, "x"); err == nil {
							err = http.NewResponseController(w).Flush()
						}
						if err != nil {
							return
						}
						<-time.After(stall) // of the clock of the bubble
					}
				})
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				err = do(s, r, in)
				if took := time.Since(begun); cellhold.KindOf(err) != cellhold.Unavailable || messageOf(err) != errSlow.Message || took != documentTime {
					t.Errorf("got %v after %s, want %v after %s", err, took, errSlow, documentTime)
				}
				if !s.isFree() {
					t.Error("the request still has memory")
				}
				<-time.After(2 * stall) // the agent notices the end
			})
		})
	}
}

func TestACallerHasAPartOfTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		patient := memory.WithPatience(t.Context(), time.Second)
		first, err := s.shares.take(patient, "ann", maxDocument)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.shares.take(patient, "ann", 1); cellhold.KindOf(err) != cellhold.Unavailable {
			t.Errorf("another document of the same caller: got %v, want Unavailable", err)
		}
		for _, other := range []string{"bob", "cyd", "dan"} {
			release, err := s.shares.take(patient, other, maxDocument)
			if err != nil {
				t.Fatalf("%s: got %v, want memory", other, err)
			}
			defer release()
		}
		if _, err := s.shares.take(patient, "eve", 1); cellhold.KindOf(err) != cellhold.Unavailable {
			t.Errorf("the memory is in use: got %v, want Unavailable", err)
		}
		first()
		again, err := s.shares.take(patient, "ann", maxDocument)
		if err != nil {
			t.Fatalf("after the end of the first document: got %v", err)
		}
		again()
		if len(s.shares.of) != 3 {
			t.Errorf("the server keeps the memory of %d callers, want 3", len(s.shares.of))
		}
	})
}

func TestARequestThatWaitsForItsSandboxHasNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := cellhold.Errorf(cellhold.NotFound, "The session has ended.")
		resumed := make(chan struct{})
		s := New(Options{
			Folders: func(context.Context, string) []Folder { return []Folder{{Name: "f"}} },
			Session: func(context.Context, string, cellhold.SessionID) (*session.Session, error) {
				<-resumed
				return nil, gone
			},
		})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "/", strings.NewReader(`{"type":"file","format":"text","content":"`+strings.Repeat("x", 1<<20)+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.SetPathValue("path", "f/a")
		result := make(chan error, 1)
		go func() { result <- s.Put(new(answered), r, "ann") }()
		synctest.Wait()
		if !s.isFree() {
			t.Error("the request has memory before its sandbox runs")
		}
		close(resumed)
		if err := <-result; err != gone {
			t.Errorf("got %v, want %v", err, gone)
		}
	})
}
