package kernelproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/zmtp"
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

// rig is a complete server with a session, and a proxy for it. Only the driver is a fake: kernels run the toy language of
// package jupytertest.
type rig struct {
	t       *testing.T
	client  *client.Client
	http    *httptest.Server
	cuts    *cutter
	session cellhold.SessionID
	proxy   *Proxy
	stop    context.CancelFunc
	ended   chan error // the result of Run

	mu    sync.Mutex
	notes string
}

// cutter is a listener that can break all its connections.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) Accept() (net.Conn, error) {
	nc, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, nc)
		c.mu.Unlock()
	}
	return nc, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.conns {
		nc.Close()
	}
	c.conns = nil
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := newServer(t)
	s, err := r.client.CreateSession(t.Context(), client.CreateSession{})
	if err != nil {
		t.Fatal(err)
	}
	r.session = s.ID
	if r.proxy, err = New(t.Context(), r.options(filepath.Join(t.TempDir(), "deep", "kernel.json"))); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.ended = stop, make(chan error, 1)
	go func() { r.ended <- r.proxy.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-r.ended
	})
	return r
}

func (r *rig) options(path string) Options {
	return Options{Client: r.client, Session: r.session, Kernel: cellhold.Kernel{Spec: "python3"}, Path: path, Patience: time.Second, Note: func(text string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.notes += text + "\n"
	}}
}

// result returns the result of Run, which can be called again.
func (r *rig) result() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(time.Minute):
		r.t.Fatal("the proxy does not end")
		return nil
	}
}

func (r *rig) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.notes
}

func newServer(t *testing.T) *rig {
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
	r := &rig{t: t, http: httptest.NewUnstartedServer(srv.Handler())}
	r.cuts = &cutter{Listener: r.http.Listener}
	r.http.Listener = r.cuts
	r.http.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	r.http.Start()
	t.Cleanup(func() { r.cuts.cut(); r.http.Close() })
	_, token := tokens.First()
	if r.client, err = client.New(client.Options{URL: r.http.URL, Token: token}); err != nil {
		t.Fatal(err)
	}
	return r
}

// program is a program with a connection file: it has a socket for each channel, as jupyter_client.
type program struct {
	t    *testing.T
	info connection
	name string
	of   map[string]*zmtp.Conn
	sent int
}

func (r *rig) program(t *testing.T, name string) *program {
	t.Helper()
	text, err := os.ReadFile(r.proxy.o.Path)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, name: name, of: map[string]*zmtp.Conn{}}
	if err := json.Unmarshal(text, &p.info); err != nil {
		t.Fatal(err)
	}
	for at, port := range map[string]int{shell: p.info.Shell, control: p.info.Control, stdin: p.info.Stdin, heartbeat: p.info.Heartbeat, iopub: p.info.IOPub} {
		nc, err := net.Dial("tcp", net.JoinHostPort(p.info.IP, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		o := zmtp.Options{Type: zmtp.Dealer, Identity: []byte(name)}
		if at == iopub {
			o = zmtp.Options{Type: zmtp.Sub}
		}
		if p.of[at], err = zmtp.New(t.Context(), nc, o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.of[at].Close() })
	}
	if err := p.of[iopub].Subscribe(""); err != nil {
		t.Fatal(err)
	}
	if h, _, _ := p.receive(iopub); h.MsgType != "iopub_welcome" { // from now on no output is lost
		t.Fatalf("got %s, want the welcome", h.MsgType)
	}
	return p
}

// send sends a message, signed with the key of the file.
func (p *program) send(at, kind, content string) (id string) {
	p.t.Helper()
	p.sent++
	id = fmt.Sprintf("%s-%d", p.name, p.sent)
	p.sendHeader(at, p.info.Key, jupyter.Header{MsgID: id, MsgType: kind, Session: p.name, Version: "5.3"}, content)
	return id
}

func (p *program) sendHeader(at, key string, h jupyter.Header, content string) {
	p.t.Helper()
	if err := p.of[at].Send(jupyter.Encode(key, jupyter.Message{Header: h, Content: json.RawMessage(content)})...); err != nil {
		p.t.Fatal(err)
	}
}

// receive returns the next message on a channel, and checks its signature.
func (p *program) receive(at string) (h, parent jupyter.Header, content string) {
	p.t.Helper()
	m, err := p.of[at].Recv()
	if err != nil {
		p.t.Fatalf("%s: %v", at, err)
	}
	parts, err := jupyter.Open(p.info.Key, m.Frames)
	if err != nil {
		p.t.Fatalf("%s: %v in %q", at, err, m.Frames)
	}
	if h, _, err = jupyter.DecodeHeader(parts[0]); err != nil {
		p.t.Fatal(err)
	}
	if parent, _, err = jupyter.DecodeHeader(parts[1]); err != nil {
		p.t.Fatal(err)
	}
	return h, parent, string(parts[3])
}

// reply returns the content of the next message on a channel, which must be about a request.
func (p *program) reply(at, id string) string {
	p.t.Helper()
	h, parent, content := p.receive(at)
	if parent.MsgID != id {
		p.t.Fatalf("%s got %s about %s, want one about %s", p.name, h.MsgType, parent.MsgID, id)
	}
	return h.MsgType + " " + content
}

// until returns the messages on iopub about a request, up to one that contains a text.
func (p *program) until(id, text string) string {
	p.t.Helper()
	all := ""
	for !strings.Contains(all, text) {
		h, parent, content := p.receive(iopub)
		if parent.MsgID == id {
			all += h.MsgType + " " + content + "\n"
		}
	}
	return all
}
