// Package jupytertest is a kernel that follows a script, for tests without Python.
//
// It listens on real sockets and uses the real protocol, so that tests use the real client. Only the
// language is a substitute. Toy is a small language for the difficult behaviour of kernels: they hang, ignore
// interrupts, die, flood, or print too late. The kernel trusts its client and refuses nothing. It is for
// tests and demonstrations only.
package jupytertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/zmtp"
)

// Script runs one cell. It returns when the cell is done; the kernel then sends the reply and the idle
// status. It must return soon after Cell.Killed is closed.
type Script func(*Cell)

// Options changes the behaviour of the kernel. The zero value is a well-behaved modern kernel that speaks
// Toy.
type Options struct {
	Script    Script // nil means Toy()
	Executed  int    // number of cells that have run before, for a restored kernel
	NoWelcome bool   // do not send iopub_welcome, like ipykernel before 7.2

	// Stream is the kernel's end of a stream. The kernel owns it, and uses it in place of ZeroMQ's sockets. It
	// may be nil.
	Stream net.Conn
	// Memory keeps what the kernel queues and never sends. It may be nil, and then nothing is queued.
	Memory *Memory
}

// Kernel acts like a kernel process: it has an exit status, and callers can signal it. It runs in the test's
// process.
type Kernel struct {
	conn    jupyter.Connection
	script  Script
	welcome bool
	memory  *Memory // or nil
	work    sync.WaitGroup
	life    context.Context // ends when the kernel dies
	end     context.CancelFunc
	listens chan struct{} // closed when a client has connected to stdin
	queue   chan request  // execute and other shell requests, in order

	mu          sync.Mutex // guards the fields below
	key         string
	session     string
	listeners   []net.Listener
	conns       map[io.Closer]bool
	subscribers map[link]bool
	stdin       link
	inputs      chan string   // input for the running cell
	interrupt   chan struct{} // closed to interrupt the running cell; nil when idle
	count       int           // executions
	messages    int
	code        int
	signal      syscall.Signal
}

type request struct {
	from link
	jupyter.Message
}

// Start starts a kernel that speaks Toy.
func Start(ctx context.Context, conn jupyter.Connection) (*Kernel, error) {
	return StartWith(ctx, conn, Options{})
}

// StartWith starts a kernel. The kernel listens when StartWith returns, and outlives the context. The
// caller must close it.
func StartWith(ctx context.Context, conn jupyter.Connection, o Options) (*Kernel, error) {
	if o.Script == nil {
		o.Script = Toy()
	}
	k := &Kernel{
		conn: conn, key: conn.Key, count: o.Executed, script: o.Script, welcome: !o.NoWelcome, memory: o.Memory,
		session:     fmt.Sprintf("toy-%d", time.Now().UnixNano()),
		listens:     make(chan struct{}),
		queue:       make(chan request, 1000), // as many as ZeroMQ queues
		conns:       make(map[io.Closer]bool),
		subscribers: make(map[link]bool),
	}
	k.life, k.end = context.WithCancel(context.WithoutCancel(ctx))
	if o.Stream != nil {
		k.serveStream(o.Stream)
		return k, nil
	}
	for _, ch := range []jupyter.Channel{jupyter.Shell, jupyter.IOPub, jupyter.Stdin, jupyter.Control} {
		path := conn.Path(ch)
		os.Remove(path) // a dead kernel leaves its sockets, which ZeroMQ replaces too
		l, err := net.Listen("unix", path)
		if err != nil {
			k.Close()
			return nil, err
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		k.listeners = append(k.listeners, l)
		k.work.Go(func() { k.accept(ch, l) })
	}
	k.work.Go(k.run)
	return k, nil
}

// Wait waits until the kernel has ended, and returns its exit status or the signal.
func (k *Kernel) Wait() (code int, signal syscall.Signal) {
	<-k.life.Done()
	k.work.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.code, k.signal
}

// Executed returns the number of cells that have run.
func (k *Kernel) Executed() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count
}

// Dead returns a channel that is closed when the kernel has ended.
func (k *Kernel) Dead() <-chan struct{} { return k.life.Done() }

// Signal has the effect of a signal on a kernel process. SIGINT interrupts the running cell and does nothing to an idle
// kernel. All other signals end the kernel.
func (k *Kernel) Signal(s syscall.Signal) {
	if s == syscall.SIGINT {
		k.Interrupt()
		return
	}
	k.die(0, s)
}

// Interrupt interrupts the running cell, if there is one.
func (k *Kernel) Interrupt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.interrupt != nil {
		close(k.interrupt)
		k.interrupt = nil
	}
}

// Close kills the kernel and waits for its goroutines. It can be called twice.
func (k *Kernel) Close() error {
	k.die(0, syscall.SIGKILL)
	k.work.Wait()
	return nil
}

// die ends the kernel at once, without a message, like a process. Only the first call has an effect.
func (k *Kernel) die(code int, s syscall.Signal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life.Err() != nil {
		return
	}
	k.code, k.signal = code, s
	k.end()
	for _, l := range k.listeners {
		l.Close()
	}
	for c := range k.conns {
		c.Close()
	}
}

func (k *Kernel) accept(ch jupyter.Channel, l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		k.work.Go(func() { k.serve(ch, nc) })
	}
}

// serve serves one client on one channel until one of them ends.
func (k *Kernel) serve(ch jupyter.Channel, nc net.Conn) {
	o := zmtp.Options{Type: zmtp.Router}
	if ch == jupyter.IOPub {
		o.Type = zmtp.XPub
	}
	c, err := zmtp.New(k.life, nc, o)
	if err != nil || !k.admit(ch, c) {
		return
	}
	from := socket{c}
	defer k.dismiss(from, c)
	for {
		m, err := c.Recv()
		if err != nil {
			return
		}
		if ch == jupyter.IOPub {
			k.subscription(from, m.Frames)
			continue
		}
		k.mu.Lock()
		key := k.key
		k.mu.Unlock()
		if r, err := jupyter.Decode(key, ch, m.Frames, m.Dropped); err == nil {
			k.receive(request{from, r})
		}
	}
}

func (k *Kernel) admit(ch jupyter.Channel, c *zmtp.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life.Err() != nil {
		c.Close()
		return false
	}
	k.conns[c] = true
	if ch == jupyter.Stdin {
		if k.stdin == nil {
			close(k.listens)
		}
		k.stdin = socket{c}
	}
	return true
}

func (k *Kernel) dismiss(l link, c io.Closer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
	delete(k.subscribers, l)
	c.Close()
}

// subscription handles a subscription message. The welcome message has an empty topic.
func (k *Kernel) subscription(c link, frames [][]byte) {
	if len(frames) != 1 || len(frames[0]) != 1 || frames[0][0] != 1 {
		return // only the empty subscription is supported
	}
	k.mu.Lock()
	k.subscribers[c] = true
	k.mu.Unlock()
	if k.welcome {
		k.send(c, nil, "iopub_welcome", jupyter.Message{}, of(map[string]string{"subscription": ""}))
	}
}

// receive handles a control request at once, queues a shell request, and passes a stdin reply to the cell.
func (k *Kernel) receive(r request) {
	switch r.Channel {
	case jupyter.Control:
		k.serveRequest(r)
	case jupyter.Shell:
		select {
		case k.queue <- r:
		case <-k.life.Done():
		}
	case jupyter.Stdin:
		var in struct{ Value string }
		if json.Unmarshal(r.Content, &in) == nil {
			k.input(in.Value)
		}
	}
}

func (k *Kernel) input(value string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.inputs != nil {
		k.inputs <- value // does not block, because the channel has a buffer for one answer
		k.inputs = nil
	}
}

// run is the kernel's main thread.
func (k *Kernel) run() {
	for {
		select {
		case r := <-k.queue:
			k.serveRequest(r)
		case <-k.life.Done():
			return
		}
	}
}

func (k *Kernel) serveRequest(r request) {
	if r.Header.MsgType == "execute_request" {
		k.execute(r)
		return
	}
	k.status("busy", r.Message)
	ok := map[string]any{"status": "ok"}
	switch r.Header.MsgType {
	case "kernel_info_request":
		k.reply(r, "kernel_info_reply", info())
	case "interrupt_request":
		k.Interrupt()
		k.reply(r, "interrupt_reply", ok)
	case "shutdown_request":
		k.reply(r, "shutdown_reply", ok)
		k.status("idle", r.Message)
		k.die(0, 0)
		return
	default:
		k.echo(r)
	}
	k.status("idle", r.Message)
}

// echo answers a request of any other type with the content of the request. If the request has code that begins with
// "reply ", the rest of the code is the content of the answer. echo publishes a message of a comm again, with its
// metadata and its buffers.
func (k *Kernel) echo(r request) {
	name, isRequest := strings.CutSuffix(r.Header.MsgType, "_request")
	switch {
	case isRequest:
		var q struct{ Code string }
		content := r.Content
		if json.Unmarshal(r.Content, &q) == nil {
			if rest, ok := strings.CutPrefix(q.Code, "reply "); ok {
				content = json.RawMessage(rest)
			}
		}
		k.send(r.from, nil, name+"_reply", r.Message, jupyter.Message{Content: content})
	case strings.HasPrefix(name, "comm_"):
		k.publish(name, r.Message, jupyter.Message{Metadata: r.Metadata, Content: r.Content, Buffers: r.Buffers})
	}
}

func info() map[string]any {
	return map[string]any{
		"status": "ok", "protocol_version": "5.3", "implementation": "toy", "implementation_version": "1",
		"banner": "A kernel that pretends", "supported_features": []string{},
		"language_info": map[string]any{"name": "toy", "version": "1", "mimetype": "text/x-toy", "file_extension": ".toy"},
	}
}

func (k *Kernel) status(state string, parent jupyter.Message) {
	k.publish("status", parent, of(map[string]string{"execution_state": state}))
}

func (k *Kernel) reply(r request, msgType string, content any) {
	k.send(r.from, nil, msgType, r.Message, of(content))
}

// of returns a message with a content.
func of(content any) jupyter.Message {
	body, err := json.Marshal(content)
	if err != nil {
		panic(fmt.Sprintf("jupytertest: a script sent content that is not JSON: %v", err))
	}
	return jupyter.Message{Content: body}
}

// publish sends one message to all subscribers.
func (k *Kernel) publish(msgType string, parent, m jupyter.Message) {
	k.toSubscribers(msgType, func(to link, topic []byte, _ string) { k.send(to, topic, msgType, parent, m) })
}

// toSubscribers calls send for each subscriber.
func (k *Kernel) toSubscribers(msgType string, send func(to link, topic []byte, key string)) {
	k.mu.Lock()
	to := make([]link, 0, len(k.subscribers))
	for c := range k.subscribers {
		to = append(to, c)
	}
	session, key := k.session, k.key
	k.mu.Unlock()
	for _, c := range to {
		send(c, []byte("kernel."+session+"."+msgType), key)
	}
}

// send sends one message that answers parent. It waits while the client does not read.
func (k *Kernel) send(to link, topic []byte, msgType string, parent, m jupyter.Message) {
	k.mu.Lock()
	k.messages++
	key, session := k.key, k.session
	id := fmt.Sprintf("%s_%d", session, k.messages)
	k.mu.Unlock()
	m.Parent, m.RawParent = parent.Header, parent.RawHeader
	m.Header = jupyter.Header{
		MsgID: id, MsgType: msgType, Session: session, Username: "toy", Version: "5.3",
		Date: time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"),
	}
	k.must(to.send(topic, key, m))
}

func (k *Kernel) must(err error) {
	if err != nil {
		panic(fmt.Sprintf("jupytertest: send: %v", err))
	}
}
