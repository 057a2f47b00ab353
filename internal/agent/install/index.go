package install

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"

	"cellhold"
	"cellhold/internal/guestapi"
)

// run is the connection of one installation to the index. It is a listener on the loopback that passes
// every question to the host and every answer back.
type run struct {
	url    string // ends in simple/
	origin string // hidden in the output of uv
	server *http.Server
	served sync.WaitGroup
	ctx    context.Context // ends with the installation
	cancel context.CancelFunc
	asks   chan *question

	mu    sync.Mutex
	last  int64
	asked map[int64]*question
}

// question is one request of uv.
type question struct {
	ask    guestapi.Question
	answer chan answer // capacity 1
}

// answer is the host's answer to a question. done receives the result of the copy to uv.
type answer struct {
	status int
	kind   string
	body   io.Reader
	done   chan error // capacity 1
}

// open starts the listener and makes the installation known to the host.
func (r *Installer) open(ctx context.Context) (*run, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	// Without the secret, every process in the sandbox could ask the index in place of uv.
	secret := rand.Text()
	x := &run{origin: "http://" + ln.Addr().String() + "/" + secret, asks: make(chan *question), asked: map[int64]*question{}}
	x.url = x.origin + "/simple/"
	x.ctx, x.cancel = context.WithCancel(ctx)
	x.server = &http.Server{
		Handler:  http.StripPrefix("/"+secret, http.HandlerFunc(x.pass)),
		ErrorLog: slog.NewLogLogger(r.o.Logger.Handler(), slog.LevelDebug),
	}
	x.served.Go(func() { _ = x.server.Serve(ln) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run = x
	close(r.next) // wakes requests of the host that wait for a question
	r.next = make(chan struct{})
	x.served.Go(func() {
		<-x.ctx.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.run == x {
			r.run = nil
		}
	})
	return x, nil
}

// close ends the listener and waits until all its requests have ended.
func (x *run) close() {
	x.cancel()
	x.server.Close()
	x.served.Wait()
}

// hide removes the address of the listener from the output of uv: it has no meaning for the reader.
func (x *run) hide(log string) string {
	log = strings.ReplaceAll(log, x.url, "index:")
	return strings.ReplaceAll(log, x.origin+"/", "index:")
}

// pass asks the host one question of uv and passes the answer on.
func (x *run) pass(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET and HEAD are supported", http.StatusMethodNotAllowed)
		return
	}
	q := &question{answer: make(chan answer, 1)}
	x.mu.Lock()
	x.last++
	q.ask = guestapi.Question{ID: x.last, Path: strings.TrimPrefix(r.URL.Path, "/")}
	x.asked[q.ask.ID] = q
	x.mu.Unlock()
	defer x.forget(q)
	select {
	case x.asks <- q:
	case <-r.Context().Done():
		return
	case <-x.ctx.Done():
		return
	}
	select {
	case a := <-q.answer:
		w.Header().Set("Content-Type", a.kind)
		w.WriteHeader(a.status)
		_, err := io.Copy(w, a.body)
		a.done <- err
		if err != nil {
			panic(http.ErrAbortHandler) // uv must see that the file is incomplete
		}
	case <-r.Context().Done():
	case <-x.ctx.Done():
	}
}

func (x *run) forget(q *question) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.asked, q.ask.ID)
}

// current returns the running installation, or a channel that is closed when one begins.
func (r *Installer) current() (*run, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.run, r.next
}

// nextAsk waits for the next question. It returns false if the context or the installation ends before a question
// comes.
func (r *Installer) nextAsk(ctx context.Context) (guestapi.Question, bool) {
	for {
		x, begun := r.current()
		if x == nil {
			select {
			case <-begun:
				continue
			case <-ctx.Done():
				return guestapi.Question{}, false
			}
		}
		select {
		case q := <-x.asks:
			return q.ask, true
		case <-x.ctx.Done():
			return guestapi.Question{}, false
		case <-ctx.Done():
			return guestapi.Question{}, false
		}
	}
}

var errAnswered = errors.New("answered already")

// reply passes an answer of the host to uv, and returns when uv has read it.
func (r *Installer) reply(ctx context.Context, id int64, status int, kind string, body io.Reader) error {
	x, _ := r.current()
	var q *question
	if x != nil {
		x.mu.Lock()
		q = x.asked[id]
		delete(x.asked, id) // a question is answered once
		x.mu.Unlock()
	}
	if q == nil {
		return cellhold.Wrap(cellhold.NotFound, errAnswered, "Question %d is not waiting for an answer.", id)
	}
	a := answer{status: status, kind: kind, body: body, done: make(chan error, 1)}
	q.answer <- a
	select {
	case err := <-a.done:
		return unread(err)
	case <-x.ctx.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-a.done: // the answer was the last one that the installation needed
		return unread(err)
	default:
		return cellhold.Errorf(cellhold.Conflict, "The installation has ended.")
	}
}

// unread returns the error for an answer that the installer did not read completely. err is nil if it read the answer.
func unread(err error) error {
	if err == nil {
		return nil
	}
	return cellhold.Wrap(cellhold.Conflict, err, "The installer did not read the answer.")
}
