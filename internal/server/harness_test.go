package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/server/guard"
	"cellhold/internal/session"
	"cellhold/internal/store"
)

// Tokens of the tests, for two callers that are independent of each other.
const (
	annToken = "ann-0123456789abcdef0123456789abcdef"
	bobToken = "bob-0123456789abcdef0123456789abcdef"
)

// harness is a complete server. Only the driver is a fake.
type harness struct {
	t       testing.TB
	url     string
	server  *Server
	manager *registry.Registry
	world   *fake.World
	log     *lockedBuffer
}

type images struct{}

func (images) Resolve(name string) (session.Image, error) {
	if name != "toy" {
		return session.Image{}, cellhold.Errorf(cellhold.NotFound, "There is no image %q.", name)
	}
	return session.Image{Name: name, Digest: "sha256:toy", Rootfs: "/"}, nil
}

// lockedBuffer is a log that several goroutines write and a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newManager(t testing.TB, change func(*registry.Options)) (*registry.Registry, *fake.World) {
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
	o := registry.Options{
		Driver: world.Open(), Store: db, Images: images{}, Logger: slog.New(slog.DiscardHandler), Image: "toy",
		Limits:   cellhold.Limits{Memory: 1 << 28, CPU: 1, Processes: 64, Disk: 1 << 28, Tmp: 1 << 26, Output: 1 << 26},
		Settings: session.Settings{Home: t.TempDir(), Ephemeral: true},
	}
	if change != nil {
		change(&o)
	}
	m, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var run sync.WaitGroup
	run.Go(func() {
		if err := m.Run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("close the registry: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
		o.Driver.Close()
		world.Close()
		db.Close()
	})
	if err := m.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return m, world
}

func newServer(t testing.TB, m *registry.Registry, change func(*Options)) (*Server, *lockedBuffer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("ann "+annToken+"\nbob "+bobToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := guard.LoadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	log := &lockedBuffer{}
	o := Options{
		Sessions: m, Tokens: tokens, Version: "test",
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

// newHarness starts a server. Its requests have ann's token.
func newHarness(t testing.TB) *harness { return newHarnessWith(t, nil, nil) }

func newHarnessWith(t testing.TB, sessions func(*registry.Options), options func(*Options)) *harness {
	t.Helper()
	m, world := newManager(t, sessions)
	s, log := newServer(t, m, options)
	hs := httptest.NewServer(s.Handler())
	t.Cleanup(hs.Close)
	t.Cleanup(s.waiters.SendAway) // hs.Close waits for waiting requests
	t.Cleanup(s.tools.Close)
	t.Cleanup(s.envd.Close)
	t.Cleanup(s.jupyter.Close)
	t.Cleanup(s.runs.Close)
	return &harness{t, hs.URL, s, m, world, log}
}

// answered is an answer whose body was read.
type answered struct {
	*http.Response
	body []byte
}

func (a answered) decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

func (h *harness) request(method, path, body string) *http.Request {
	h.t.Helper()
	req, err := http.NewRequest(method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if body == "" {
		req.Body, req.ContentLength = nil, 0
	}
	req.Header.Set("Authorization", "Bearer "+annToken)
	switch {
	case strings.HasPrefix(body, "{"):
		req.Header.Set("Content-Type", "application/json")
	case body != "":
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req
}

func (h *harness) send(req *http.Request) answered {
	h.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answered{res, body}
}

// do sends a request and fails the test if the answer has another status.
func (h *harness) do(status int, method, path, body string) answered {
	h.t.Helper()
	a := h.send(h.request(method, path, body))
	if a.StatusCode != status {
		h.t.Fatalf("%s %s: got status %d with %s, want %d", method, path, a.StatusCode, a.body, status)
	}
	return a
}

// create creates a session and returns its path.
func (h *harness) create() string {
	h.t.Helper()
	return h.do(201, "POST", "/v1/sessions", "").Header.Get("Location")
}

// run runs code until it is done.
func (h *harness) run(session, code string) cellhold.Cell {
	h.t.Helper()
	body, err := json.Marshal(map[string]string{"code": code})
	if err != nil {
		h.t.Fatal(err)
	}
	var cell cellhold.Cell
	h.do(200, "POST", session+"/cells?wait=60s", string(body)).decode(h.t, &cell)
	if cell.State != cellhold.CellDone {
		h.t.Fatalf("got the cell %+v, want state done", cell)
	}
	return cell
}
