package jupyter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/jupytertest"
)

// inbox collects messages and lets a test wait for one of them.
type inbox struct {
	mu   sync.Mutex
	got  map[string][]jupyter.Message // by id of the request
	news chan struct{}                // closed and replaced at each message
}

func newInbox() *inbox {
	return &inbox{got: make(map[string][]jupyter.Message), news: make(chan struct{})}
}

func (b *inbox) add(m jupyter.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range []string{m.Parent.MsgID, m.Parent.MsgID + m.Header.MsgType} {
		b.got[key] = append(b.got[key], m)
	}
	close(b.news)
	b.news = make(chan struct{})
}

// answers returns the messages of a type that answer a request. An empty type means all types.
func (b *inbox) answers(id, msgType string) (found []jupyter.Message, news <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.got[id+msgType], b.news
}

// wait returns the first of these messages whose content has the text.
func (b *inbox) wait(t testing.TB, id, msgType, text string) jupyter.Message {
	t.Helper()
	late := time.After(5 * time.Minute) // a loaded machine needs a minute for twenty thousand displays
	for {
		found, news := b.answers(id, msgType)
		for _, m := range found {
			if strings.Contains(string(m.Content), text) {
				return m
			}
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("no %s with %q for %s", msgType, text, id)
		}
	}
}

// finished waits for the reply and the idle status, and returns the reply.
func (b *inbox) finished(t testing.TB, id string) string {
	t.Helper()
	reply := b.wait(t, id, "execute_reply", "")
	b.wait(t, id, "status", "idle")
	return string(reply.Content)
}

func connection(t testing.TB) jupyter.Connection {
	return jupyter.NewConnection(filepath.Join(t.TempDir(), "k"))
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func connect(t testing.TB, conn jupyter.Connection, o jupyter.Options) (*jupyter.Client, *inbox) {
	t.Helper()
	return connectTo(t, func(o jupyter.Options) (*jupyter.Client, error) { return jupyter.Dial(soon(t), conn, o) }, o)
}

// dial connects to one kernel.
type dial func(jupyter.Options) (*jupyter.Client, error)

func connectTo(t testing.TB, dial dial, o jupyter.Options) (*jupyter.Client, *inbox) {
	t.Helper()
	b := newInbox()
	o.OnMessage = b.add
	c, err := dial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, b
}

// toy starts a scripted kernel and a client for it.
func toy(t testing.TB, o jupytertest.Options) (*jupytertest.Kernel, *jupyter.Client, *inbox) {
	t.Helper()
	k, dial := startToy(t, o)
	c, b := connectTo(t, dial, jupyter.Options{Dead: k.Dead()})
	return k, c, b
}

// startToy starts a scripted kernel. It speaks over a stream in the subtests of TestTheSameHappensOverAStream.
func startToy(t testing.TB, o jupytertest.Options) (*jupytertest.Kernel, dial) {
	t.Helper()
	conn := connection(t)
	dial := func(o jupyter.Options) (*jupyter.Client, error) { return jupyter.Dial(soon(t), conn, o) }
	if overStream(t) {
		var ours net.Conn
		ours, o.Stream = pair(t)
		dial = func(o jupyter.Options) (*jupyter.Client, error) { return jupyter.DialStream(soon(t), ours, o) }
	}
	k, err := jupytertest.StartWith(t.Context(), conn, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k, dial
}

func execute(t testing.TB, c *jupyter.Client, code string) string {
	t.Helper()
	id, err := c.Execute(jupyter.ExecuteRequest{Code: code, StoreHistory: true, AllowStdin: true})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestACellGivesItsOutputInOrderAndKeepsItsVariables(t *testing.T) {
	_, c, b := toy(t, jupytertest.Options{})
	if got := c.Info().LanguageInfo.Name; got != "toy" {
		t.Fatalf("language %q", got)
	}
	b.finished(t, execute(t, c, "set x 41\nadd x 1\nprint one\nwarn two"))
	id := execute(t, c, "get x")
	b.finished(t, id)
	if m := b.wait(t, id, "execute_result", ""); !strings.Contains(string(m.Content), `"text/plain":"42"`) {
		t.Fatalf("got %s", m.Content)
	}
	var order []string
	all, _ := b.answers(id, "")
	for _, m := range all {
		if m.Channel == jupyter.IOPub {
			order = append(order, m.Header.MsgType)
		}
	}
	if got := fmt.Sprint(order); got != "[status execute_input execute_result status]" {
		t.Fatalf("order on iopub: %s", got)
	}
}

func TestAKernelWithoutAWelcomeBecomesReady(t *testing.T) {
	_, c, b := toy(t, jupytertest.Options{NoWelcome: true})
	b.finished(t, execute(t, c, "print here"))
}

func TestAnInterruptEndsALoopAndKeepsTheVariables(t *testing.T) {
	_, c, b := toy(t, jupytertest.Options{})
	b.finished(t, execute(t, c, "set x kept"))
	id := execute(t, c, "print in the loop\nloop\nset x lost")
	b.wait(t, id, "stream", "in the loop")
	if err := c.Interrupt(soon(t)); err != nil {
		t.Fatal(err)
	}
	if reply := b.finished(t, id); !strings.Contains(reply, "KeyboardInterrupt") {
		t.Fatalf("reply %s", reply)
	}
	id = execute(t, c, "get x")
	b.finished(t, id)
	b.wait(t, id, "execute_result", "kept")
}

func TestAnInputRequestIsAnswered(t *testing.T) {
	_, c, b := toy(t, jupytertest.Options{})
	id := execute(t, c, "input name Who?\nget name")
	b.wait(t, id, "input_request", "Who?")
	if err := c.InputReply("Ada"); err != nil {
		t.Fatal(err)
	}
	b.finished(t, id)
	b.wait(t, id, "execute_result", "Ada")
}

func TestTheDeathOfTheKernelIsReported(t *testing.T) {
	for code, want := range map[string][2]int{"exit 3": {3, 0}, "kill": {0, 9}} {
		k, c, b := toy(t, jupytertest.Options{})
		id := execute(t, c, "flood 100\n"+code)
		if code, signal := k.Wait(); code != want[0] || int(signal) != want[1] {
			t.Fatalf("kernel ended with %d, %d", code, signal)
		}
		<-c.Done()
		if c.Err() == nil {
			t.Fatal("Done without a reason")
		}
		if got, _ := b.answers(id, "display_data"); len(got) != 100 {
			t.Fatalf("%d of 100 of its last messages arrived", len(got))
		}
		if err := c.Interrupt(soon(t)); err == nil {
			t.Fatal("the interrupt of a dead kernel returned no error")
		}
	}
}

func TestShutdownIsAnsweredBeforeTheKernelEnds(t *testing.T) {
	k, c, _ := toy(t, jupytertest.Options{})
	if err := c.Shutdown(soon(t), false); err != nil {
		t.Fatal(err)
	}
	if code, signal := k.Wait(); code != 0 || signal != 0 {
		t.Fatalf("kernel ended with %d, %d", code, signal)
	}
}

func TestDialWaitsForAKernelThatStartsLate(t *testing.T) {
	conn := connection(t)
	started := make(chan *jupytertest.Kernel, 1)
	timer := time.AfterFunc(50*time.Millisecond, func() {
		k, err := jupytertest.Start(t.Context(), conn)
		if err != nil {
			t.Error(err)
		}
		started <- k
	})
	defer timer.Stop()
	connect(t, conn, jupyter.Options{})
	(<-started).Close()
}

func TestDialGivesUpAtOnceWhenTheKernelDies(t *testing.T) {
	dead := make(chan struct{})
	time.AfterFunc(20*time.Millisecond, func() { close(dead) })
	_, err := jupyter.Dial(soon(t), connection(t), jupyter.Options{Dead: dead})
	if !errors.Is(err, jupyter.ErrDead) {
		t.Fatalf("got %v", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := jupyter.Dial(ctx, connection(t), jupyter.Options{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	// A peer that accepts and never sends.
	conn := connection(t)
	l, err := net.Listen("unix", conn.Path(jupyter.IOPub))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := jupyter.Dial(ctx, conn, jupyter.Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestANewKernelReplacesADeadOne(t *testing.T) {
	conn := connection(t)
	for i := range 2 {
		k, err := jupytertest.Start(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		c, b := connect(t, conn, jupyter.Options{Dead: k.Dead()})
		b.finished(t, execute(t, c, fmt.Sprintf("print %d", i)))
		k.Close()
		<-c.Done()
		c.Close()
		for _, f := range conn.Files()[:4] {
			if _, err := os.Stat(f); err != nil {
				t.Fatalf("a socket of the killed kernel is missing: %v", err)
			}
		}
	}
}

func TestAKernelWithAColonInItsAddressIsFound(t *testing.T) {
	conn := connection(t)
	k, err := jupytertest.Start(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	files := conn.Files()
	for i, file := range files[:4] {
		if err := os.Rename(file, files[len(files)/2+i]); err != nil {
			t.Fatal(err)
		}
	}
	c, b := connect(t, conn, jupyter.Options{})
	defer c.Close()
	b.finished(t, execute(t, c, "print hello"))
}

func TestAMessageOverTheLimitArrivesWithoutItsContent(t *testing.T) {
	_, dial := startToy(t, jupytertest.Options{})
	c, b := connectTo(t, dial, jupyter.Options{MaxMessage: 100_000})
	id := execute(t, c, "big 200000\nprint after")
	b.finished(t, id)
	got, _ := b.answers(id, "stream")
	if len(got) != 2 || got[0].Dropped < 200_000 || string(got[0].Content) != "{}" || got[1].Dropped != 0 {
		t.Fatalf("got %d messages, the first with %d bytes dropped", len(got), got[0].Dropped)
	}
}

func TestAFloodArrivesWhole(t *testing.T) {
	_, c, b := toy(t, jupytertest.Options{})
	id := execute(t, c, "flood 5000")
	b.finished(t, id)
	if got, _ := b.answers(id, "display_data"); len(got) != 5000 {
		t.Fatalf("%d of 5000 arrived", len(got))
	}
}

func TestCloseLeavesNoGoroutineAndCanBeRepeated(t *testing.T) {
	before := runtime.NumGoroutine()
	k, dial := startToy(t, jupytertest.Options{})
	c, err := dial(jupyter.Options{Dead: k.Dead()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := errors.Join(c.Close(), k.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if c.Err() != nil {
		t.Fatalf("the error after Close: %v", c.Err())
	}
	if _, err := c.Execute(jupyter.ExecuteRequest{Code: "print no"}); err == nil {
		t.Fatal("a closed client sent a message")
	}
	// A goroutine that has ended may still be counted for a moment.
	for start := time.Now(); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

func TestTheConnectionFileHasTheFieldsThatKernelsRead(t *testing.T) {
	conn := jupyter.NewConnection("/run/k/1")
	path := filepath.Join(t.TempDir(), "c.json")
	if err := conn.WriteFile(path, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got["transport"] != "ipc" || got["ip"] != "/run/k/1" || got["shell_port"] != 1.0 || got["hb_port"] != 5.0 ||
		got["key"] != conn.Key || len(conn.Key) != 32 || got["signature_scheme"] != "hmac-sha256" {
		t.Fatalf("got %s", b)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", st.Mode())
	}
	if err := conn.WriteFile(path, 0o600); err == nil {
		t.Fatal("a file was overwritten")
	}
	conn.Prefix = "/" + strings.Repeat("x", 106)
	if err := conn.WriteFile(path+"2", 0o600); err == nil {
		t.Fatal("a path longer than sockets allow was accepted")
	}
}
