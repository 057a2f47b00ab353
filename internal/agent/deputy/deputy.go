// Package deputy lets a process without rights answer requests for the agent.
//
// The agent is root in the guest. User code can change paths at any time, so root must not open them. The agent
// starts a deputy process with the rights of the kernels' user, and passes requests on to it. User code
// has the same user, so it can kill, stop and take over the deputy. It gains nothing by that: the deputy
// has only the rights of user code, and the host trusts both equally little. A deputy that ended or is
// silent is replaced, and its requests fail with an error that says so. Any other failure ends only its own request,
// because the deputy handles several requests at the same time.
//
// The agent and the deputy share one socket, over which the agent sends a new connection for each request.
// The socket has no name, so no other process can connect.
//
// Proxy.mu is held while a deputy is started, and never while the agent talks to one.
package deputy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"sync"
	"syscall"
	"time"

	"cellhold/internal/agent/upload"
	"cellhold/internal/guestapi"
)

const (
	// idle is how long an unused deputy stays. It takes some megabytes of the session's memory, and the
	// start of another takes 50 ms.
	idle = 30 * time.Second
	// maxHeaders is far above the headers that the deputy sends.
	maxHeaders = 8 << 10
	// continueTime is the time that a deputy has to accept a request. After it the body is sent without an
	// acceptance.
	continueTime = 10 * time.Second
	// copyBuffer is the amount that is read from the deputy at once.
	copyBuffer = 64 << 10
)

// Process is a running deputy.
type Process interface {
	Done() <-chan struct{} // closed when it has ended
	Kill()                 // ends it; can be called twice
}

// Options configures a Proxy.
type Options struct {
	// Start starts a deputy with control as descriptor 3.
	Start  func(control *os.File) (Process, error)
	Stall  time.Duration // limit of silence of a deputy that is reading files; 0 means 20 seconds
	Accept time.Duration // limit of a deputy's delay in reading a request body; 0 means a minute
	Answer time.Duration // limit of the time until the answer to all other requests begins; 0 means 2 minutes
	Logger *slog.Logger  // nil discards
}

// Proxy passes requests on to a deputy.
type Proxy struct {
	o       Options
	buffers sync.Pool
	watch   sync.WaitGroup

	mu     sync.Mutex
	worker *worker // nil when there is none
	closed bool
}

// New returns a Proxy that starts a deputy at the first request.
func New(o Options) (*Proxy, error) {
	if o.Start == nil {
		return nil, errors.New("deputy: Options.Start is missing")
	}
	if o.Stall <= 0 {
		o.Stall = 20 * time.Second // a busy sandbox stops for seconds, and hosts give up after 30 s
	}
	if o.Accept <= 0 {
		o.Accept = time.Minute // the next piece of an archive is read when some thousand files of the last piece are written
	}
	if o.Answer <= 0 {
		o.Answer = 2 * time.Minute // the removal of 100,000 files takes half a minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Proxy{o: o}, nil
}

// Close ends the deputy and all requests.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	w := p.worker
	p.worker = nil
	p.mu.Unlock()
	if w != nil {
		w.end()
	}
	p.watch.Wait()
}

// worker is one deputy.
type worker struct {
	process Process
	control *net.UnixConn
	proxy   *httputil.ReverseProxy
	conns   *http.Transport // connections to the deputy

	once   sync.Once
	active int         // requests in progress; Proxy.mu guards it and idle
	idle   *time.Timer // runs while no request is in progress
}

// end ends the deputy.
func (w *worker) end() {
	w.once.Do(func() {
		w.control.Close()
		w.process.Kill()
		w.conns.CloseIdleConnections()
	})
}

// ServeHTTP passes a request on. Requests with a body must come through upload.Handler.
func (p *Proxy) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w, err := p.acquire()
	if err != nil {
		p.o.Logger.Warn("deputy not started", "error", err)
		refuse(rw, "The process that works on files could not be started in the sandbox. The sandbox may have reached its limit of memory or processes.")
		return
	}
	defer p.release(w)
	c := &call{in: r}
	if r.Method == http.MethodGet {
		c.timer = time.AfterFunc(p.o.Stall, func() { p.drop(w) })
		defer c.timer.Stop()
	}
	w.proxy.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
}

// call is one request in progress.
type call struct {
	in    *http.Request
	timer *time.Timer // runs until the answer begins; nil if the request can take longer
}

type callKey struct{}

// callOf returns the call of a request to the deputy.
func callOf(r *http.Request) *call { return r.Context().Value(callKey{}).(*call) }

// acquire returns the deputy, and starts one if there is none.
func (p *Proxy) acquire() (*worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("the agent is stopping")
	}
	if p.worker == nil {
		w, err := p.start()
		if err != nil {
			return nil, err
		}
		p.worker = w
		p.watch.Go(func() {
			<-w.process.Done()
			p.drop(w)
		})
	}
	w := p.worker
	w.active++
	w.idle.Stop()
	return w, nil
}

func (p *Proxy) release(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.active--; w.active == 0 {
		w.idle.Reset(idle)
	}
}

// retire ends an unused deputy.
func (p *Proxy) retire(w *worker) {
	p.mu.Lock()
	if w.active > 0 {
		p.mu.Unlock()
		return
	}
	if p.worker == w {
		p.worker = nil
	}
	p.mu.Unlock()
	w.end()
}

// drop ends a deputy. The next request starts another one.
func (p *Proxy) drop(w *worker) {
	p.mu.Lock()
	if p.worker == w {
		p.worker = nil
	}
	p.mu.Unlock()
	w.end()
}

func (p *Proxy) start() (*worker, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	control, err := asConn(ours)
	if err != nil {
		return nil, err
	}
	process, err := p.o.Start(theirs)
	if err != nil {
		control.Close()
		return nil, err
	}
	w := &worker{process: process, control: control.(*net.UnixConn)}
	w.conns = &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return w.dial(p.o.Accept) },
		DisableCompression:     true,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: maxHeaders,
		ResponseHeaderTimeout:  p.o.Answer,
		ExpectContinueTimeout:  continueTime,
	}
	w.proxy = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "deputy" },
		Transport:      w.conns,
		FlushInterval:  -1, // a watch reports changes at once
		BufferPool:     p,
		ModifyResponse: func(r *http.Response) error { return p.guard(w, r) },
		ErrorHandler:   func(rw http.ResponseWriter, r *http.Request, err error) { p.failed(w, rw, r, err) },
		ErrorLog:       slog.NewLogLogger(p.o.Logger.Handler(), slog.LevelDebug),
	}
	w.idle = time.AfterFunc(idle, func() { p.retire(w) })
	return w, nil
}

// dial makes a connection and gives its other end to the deputy.
func (w *worker) dial(stall time.Duration) (net.Conn, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	conn, err := asConn(ours)
	if err != nil {
		return nil, err
	}
	w.control.SetWriteDeadline(time.Now().Add(stall))
	if _, _, err := w.control.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(theirs.Fd())), nil); err != nil {
		conn.Close()
		return nil, fmt.Errorf("pass a connection to the deputy: %w", err)
	}
	return &patient{Conn: conn, stall: stall}, nil
}

// patient is a connection whose writes fail if the deputy reads nothing for the time stall.
type patient struct {
	net.Conn
	stall time.Duration
}

func (c *patient) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// guard bounds the silence of a deputy during an answer. It refuses answers that would change the protocol
// of the connection.
func (p *Proxy) guard(w *worker, r *http.Response) error {
	if timer := callOf(r.Request).timer; timer != nil {
		timer.Stop()
	}
	if r.StatusCode < 200 {
		return errors.New("the deputy answered with an informational status")
	}
	r.Body = &guarded{ReadCloser: r.Body, stall: p.o.Stall, late: func() { p.drop(w) }}
	return nil
}

// guarded is the body of an answer.
type guarded struct {
	io.ReadCloser
	stall time.Duration
	late  func()
}

// Read ends the deputy if it sends nothing for the time stall. Then the read fails.
func (g *guarded) Read(b []byte) (int, error) {
	timer := time.AfterFunc(g.stall, g.late)
	defer timer.Stop()
	return g.ReadCloser.Read(b)
}

// failed answers a request that got no answer. It ends the deputy if it is silent. It does not end a healthy deputy,
// because other requests would fail too.
func (p *Proxy) failed(w *worker, rw http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil || upload.Broken(callOf(r).in) {
		panic(http.ErrAbortHandler) // the caller has given up
	}
	p.o.Logger.Warn("deputy does not answer", "error", err)
	if silent(err) || !w.accepts(p.o.Accept) {
		p.drop(w)
	}
	refuse(rw, "The process that works on files in the sandbox was ended or stopped, possibly by the session's code. Try again: a new one will be started.")
}

// silent reports whether an error says that a deputy does not react.
func silent(err error) bool {
	late, ok := errors.AsType[net.Error](err)
	return ok && late.Timeout()
}

// accepts reports whether the deputy can get another connection. A deputy that has ended cannot.
func (w *worker) accepts(stall time.Duration) bool {
	conn, err := w.dial(stall)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func refuse(rw http.ResponseWriter, sentence string) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(rw).Encode(guestapi.Problem{Error: sentence})
}

// Get returns a buffer. Get and Put implement httputil.BufferPool.
func (p *Proxy) Get() []byte {
	if b, ok := p.buffers.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, copyBuffer)
}

// Put returns a buffer of Get to the pool.
func (p *Proxy) Put(b []byte) { p.buffers.Put(&b) }

// pair makes two connected sockets.
func pair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a connection: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs"), nil
}

// asConn turns a socket into a connection, and closes the socket.
func asConn(f *os.File) (net.Conn, error) {
	defer f.Close()
	return net.FileConn(f)
}
