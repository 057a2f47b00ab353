package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/server"
	"cellhold/internal/server/guard"
	"cellhold/internal/session"
	"cellhold/internal/store"
)

type images struct{}

func (images) Resolve(name string) (session.Image, error) {
	return session.Image{Name: name, Digest: "sha256:toy", Rootfs: "/"}, nil
}

// start starts a complete server with a fake driver, and returns a client for it. around wraps the handler of the
// server; it can be nil.
func start(t *testing.T, around func(http.Handler) http.Handler) *client.Client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	world, err := fake.NewWorld(ctx, fake.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(ctx, store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	driver := world.Open()
	m, err := registry.New(registry.Options{
		Driver: driver, Store: db, Images: images{}, Logger: slog.New(slog.DiscardHandler), Image: "toy",
		Limits:   cellhold.Limits{Memory: 1 << 28, CPU: 1, Processes: 64, Disk: 1 << 28, Tmp: 1 << 26, Output: 1 << 26},
		Settings: session.Settings{Home: t.TempDir(), Ephemeral: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	var run sync.WaitGroup
	run.Go(func() { _ = m.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait(); driver.Close(); world.Close(); db.Close() })
	if err := m.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	tokens, err := guard.LoadTokens(filepath.Join(t.TempDir(), "token"))
	if err != nil {
		t.Fatal(err)
	}
	srv, err := server.New(server.Options{Sessions: m, Tokens: tokens, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	handler := srv.Handler()
	if around != nil {
		handler = around(handler)
	}
	hs := httptest.NewUnstartedServer(handler)
	hs.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	hs.Start()
	t.Cleanup(func() { hs.CloseClientConnections(); hs.Close() })
	_, token := tokens.First()
	return newClient(t, client.Options{URL: hs.URL + "/", Token: token})
}

func newClient(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t *testing.T, c *client.Client) cellhold.SessionID {
	t.Helper()
	s, err := c.CreateSession(t.Context(), client.CreateSession{User: "ann", Metadata: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	return s.ID
}

func TestAClientUsesASessionFromStartToEnd(t *testing.T) {
	ctx := t.Context()
	c := start(t, nil)
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if v, err := c.Version(ctx); err != nil || v.Version != "test" {
		t.Errorf("got the version %+v, %v; want test", v, err)
	}
	id := create(t, c)
	cell, err := c.Execute(ctx, id, client.Code{Code: "set x 41\nadd x 1\nget x", Timeout: time.Minute})
	if err != nil || cell.Status != cellhold.StatusOK || string(cell.Outputs[0].Data["text/plain"]) != `"42"` {
		t.Errorf("got the cell %+v, %v; want status ok and the result 42", cell, err)
	}
	queued, err := c.Submit(ctx, id, client.Code{Code: "print later"})
	if err != nil {
		t.Fatal(err)
	}
	if done, err := c.Wait(ctx, id, queued.ID); err != nil || done.Outputs[0].Text != "later\n" {
		t.Errorf("Wait returned %+v, %v; want the output later", done, err)
	}
	if again, err := c.Cell(ctx, id, queued.ID); err != nil || again.State != cellhold.CellDone {
		t.Errorf("got the cell %+v, %v; want state done", again, err)
	}
	if cells, err := c.Cells(ctx, id); err != nil || len(cells) != 2 {
		t.Errorf("got the cells %+v, %v; want 2", cells, err)
	}
	if s, err := c.Session(ctx, id); err != nil || s.ID != id || s.Meta["a"] != "b" {
		t.Errorf("got the session %+v, %v; want id %s and the metadata of the create call", s, err, id)
	}
	if list, err := c.Sessions(ctx); err != nil || len(list) != 1 {
		t.Errorf("got the sessions %+v, %v; want 1", list, err)
	}
	if s, err := c.Restart(ctx, id, ""); err != nil || s.Kernels[0].State != cellhold.KernelIdle {
		t.Errorf("after the restart: got %+v, %v; want an idle kernel", s, err)
	}
	var nb bytes.Buffer
	if err := c.Notebook(ctx, id, &nb); err != nil || !strings.Contains(nb.String(), "print later") {
		t.Errorf("got the notebook %s, %v; want the code of the second cell in it", nb.String(), err)
	}
	if files, err := c.Files(ctx, id); err != nil || len(files) != 0 {
		t.Errorf("got the files %v, %v; want 0", files, err)
	}
	if _, err := c.OpenFile(ctx, id, "a b/c?.png"); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("open a missing file: got %v, want kind not_found", err)
	}
	if err := c.DeleteSession(ctx, id); err != nil {
		t.Error(err)
	}
	if _, err := c.Session(ctx, id); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("read a deleted session: got %v, want kind not_found", err)
	}
}

func TestAnInterruptEndsTheRunningCell(t *testing.T) {
	c := start(t, nil)
	id := create(t, c)
	cell, err := c.Submit(t.Context(), id, client.Code{Code: "loop"})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range c.Watch(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == cellhold.EventCellStarted {
			break
		}
	}
	if err := c.Interrupt(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if done, err := c.Wait(t.Context(), id, cell.ID); err != nil || done.Status != cellhold.StatusInterrupted {
		t.Errorf("got the cell %+v, %v; want status interrupted", done, err)
	}
}

// cutting breaks the connection of a GET request to a path after some writes. It does so for the first cuts requests.
func cutting(path string, writes int32, cuts *atomic.Int32) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, path) && cuts.Add(-1) >= 0 {
				ctx, cut := context.WithCancel(r.Context())
				defer cut()
				next.ServeHTTP(&cutter{ResponseWriter: w, left: writes, cut: cut}, r.WithContext(ctx))
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
	}
}

type cutter struct {
	http.ResponseWriter
	left int32
	cut  func()
}

func (c *cutter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutter) Write(p []byte) (int, error) {
	if c.left--; c.left < 0 {
		c.cut()
		return 0, errors.New("cut")
	}
	return c.ResponseWriter.Write(p)
}

func TestAWatchMissesNoEventWhenConnectionsBreak(t *testing.T) {
	var cuts atomic.Int32
	cuts.Store(5)
	c := start(t, cutting("/events", 3, &cuts))
	id := create(t, c)
	for range 5 {
		if _, err := c.Execute(t.Context(), id, client.Code{Code: "print a\nwarn b\nprint c"}); err != nil {
			t.Fatal(err)
		}
	}
	var deletion sync.WaitGroup
	defer deletion.Wait()
	var once sync.Once
	var last int64
	for e, err := range c.Watch(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != last+1 {
			t.Fatalf("got event %d after event %d, want %d", e.Seq, last, last+1)
		}
		last = e.Seq
		if e.Type == cellhold.EventCellDone && cuts.Load() < 0 {
			once.Do(func() {
				deletion.Go(func() {
					if err := c.DeleteSession(t.Context(), id); err != nil {
						t.Error(err)
					}
				})
			})
		}
		if e.Type == cellhold.EventSessionEnded {
			return
		}
	}
	t.Error("the watch ended without the event session_ended")
}

func TestWaitRetriesAfterABrokenConnection(t *testing.T) {
	var cuts atomic.Int32
	cuts.Store(2)
	c := start(t, cutting("/cells/", 0, &cuts))
	id := create(t, c)
	cell, err := c.Submit(t.Context(), id, client.Code{Code: "print once"})
	if err != nil {
		t.Fatal(err)
	}
	done, err := c.Wait(t.Context(), id, cell.ID)
	if err != nil || done.Status != cellhold.StatusOK || cuts.Load() >= 0 {
		t.Errorf("got the cell %+v, %v, cuts %d; want status ok and a negative number", done, err, cuts.Load())
	}
}

func TestErrorsHaveTheKindFromTheServer(t *testing.T) {
	c := start(t, nil)
	id := create(t, c)
	for _, tt := range []struct {
		name string
		err  error
		want cellhold.Kind
	}{
		{"unknown session", second(c.Session(t.Context(), "s/../x")), cellhold.NotFound},
		{"unknown kernel", second(c.Submit(t.Context(), id, client.Code{Kernel: "cobol"})), cellhold.NotFound},
		{"bad timeout", second(c.Submit(t.Context(), id, client.Code{Timeout: -1})), cellhold.Invalid},
	} {
		if e, ok := errors.AsType[*cellhold.Error](tt.err); !ok || e.Kind != tt.want || e.Message == "" {
			t.Errorf("%s: got %v, want kind %s and a message", tt.name, tt.err, tt.want)
		}
	}
	for _, err := range c.Watch(t.Context(), "sunknown", 0) {
		if cellhold.KindOf(err) != cellhold.NotFound {
			t.Errorf("watch an unknown session: got %v, want kind not_found", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestAnAnswerThatIsNotJSONHasTheKindOfItsStatus(t *testing.T) {
	for status, want := range map[int]cellhold.Kind{502: cellhold.Unavailable, 401: cellhold.Denied, 301: cellhold.Internal, 500: cellhold.Internal, 429: cellhold.Exhausted} {
		hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>")
		}))
		c := newClient(t, client.Options{URL: hs.URL})
		if err := c.Ready(t.Context()); cellhold.KindOf(err) != want {
			t.Errorf("status %d: got %v, want kind %s", status, err, want)
		}
		hs.Close()
	}
}

func TestRetriesOfAnUnreachableServerEnd(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	c := newClient(t, client.Options{URL: "http://" + ln.Addr().String(), Patience: 300 * time.Millisecond})
	if _, err := c.Wait(t.Context(), "s", "c"); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("Wait: got %v, want kind unavailable", err)
	}
	last := errors.New("the watch yielded nothing")
	for _, err := range c.Watch(t.Context(), "s", 0) {
		last = err
	}
	if cellhold.KindOf(last) != cellhold.Unavailable {
		t.Errorf("Watch: got %v, want kind unavailable", last)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Wait(ctx, "s", "c"); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a cancelled context: got %v, want context.Canceled", err)
	}
}

func TestInvalidURLsAreRefused(t *testing.T) {
	for _, u := range []string{"", "localhost:5002", "ftp://x", "http://", "http://u:p@x", "http://x?token=1"} {
		if _, err := client.New(client.Options{URL: u}); err == nil {
			t.Errorf("%q: got no error, want one", u)
		}
	}
}

// A caller can paste a whole line of the token file. The message then names the part to use.
func TestATokenWithASpaceIsRefused(t *testing.T) {
	for _, token := range []string{"default 0123", "0123\n4567", "0123\r"} {
		if _, err := client.New(client.Options{URL: "http://127.0.0.1:5002", Token: token}); err == nil || !strings.Contains(err.Error(), "use only the token") {
			t.Errorf("%q: got %v, want an error with \"use only the token\"", token, err)
		}
	}
}
