package door

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"cellhold"
)

const (
	// MaxCode is the most bytes of one cell's code, the same as the guest's own bound.
	MaxCode = 4 << 20
	// MaxBody is the most bytes of a request's body: code of the largest size with as many escapes
	// as characters, and its envelope.
	MaxBody = 8 << 20
	// BodyTime is how long a body may take: the largest one over a poor line of 600 kbit/s, short
	// enough that a trickle does not hold a connection for hours.
	BodyTime = 2 * time.Minute
	// writeTime is how long a reader may take no bytes at all before the connection is dropped: a
	// stalled reader comes back with its cursor, a dead one would hold a goroutine for ever.
	writeTime = 30 * time.Second
	// drainTime is how long a sender is listened to that has had its answer: senders stop when they see it.
	drainTime = 5 * time.Second
	// readTime is how long a sender may send nothing of a long body.
	readTime = 30 * time.Second
	// writePiece is what must be taken within writeTime: small enough for 20 kbit/s.
	writePiece = 64 << 10
	// maxLogged cuts what callers choose, such as paths, in the log.
	maxLogged = 256

	// TooLarge is the sentence about both bounds.
	TooLarge = "The body is larger than 8 MiB, or the code in it larger than 4 MiB."
)

// call is what is known of one request.
type call struct {
	id     string // names it in the log and in errors
	caller string // name of the token; "" before authentication
}

type callKey struct{}

// callOf returns what is known of the request of this context.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// Caller returns the name of the token that the request of this context bears; "" before anybody
// looked, and where nobody needs one.
func Caller(ctx context.Context) string { return callOf(ctx).caller }

// SetCaller notes who sent the request of this context.
func SetCaller(ctx context.Context, name string) { callOf(ctx).caller = name }

// Instrument surrounds every request: id, deadlines, bound of the body, log and recovery.
func Instrument(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: "r" + strings.ToLower(rand.Text())}
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		a := &answer{ResponseWriter: w, control: http.NewResponseController(w), begun: time.Now()}
		_ = a.control.SetWriteDeadline(time.Time{}) // the last one belonged to the request before
		a.Header().Set("X-Request-Id", c.id)
		setSafeHeaders(a.Header())
		if r.ContentLength != 0 {
			_ = a.control.SetReadDeadline(a.begun.Add(BodyTime))
			r.Body = &boundedBody{ReadCloser: http.MaxBytesReader(w, r.Body, MaxBody+1), answer: a, whole: r.Body}
		}
		defer finish(log, a, r, c)
		next.ServeHTTP(a, r)
	})
}

// setSafeHeaders says what browsers must not do with any answer; pages that need more say so.
// Without them a browser could show what untrusted code wrote as a page of this server, keep it
// in its cache, or lend it to other sites.
func setSafeHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

// finish answers a request whose handler panicked, and logs all.
func finish(log *slog.Logger, a *answer, r *http.Request, c *call) {
	p := recover()
	if p != nil && p != http.ErrAbortHandler && r.Context().Err() == nil {
		log.Error("panic", "request", c.id, "panic", p, "stack", string(debug.Stack()))
	}
	if p != nil && a.status == 0 && p != http.ErrAbortHandler {
		WriteProblem(a, NewProblem(r.Context(), http.StatusInternalServerError, cellhold.Internal,
			"The server made a mistake; its log has more under the id of this request."))
		p = nil
	}
	logRequest(log, a, r, c)
	if p != nil {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	a.extend() // what is still in the connection's buffer
}

// logRequest writes the access log. Paths and methods are the caller's: the handler of the log
// escapes them, and long ones are cut. Queries, headers and bodies are never logged.
func logRequest(log *slog.Logger, a *answer, r *http.Request, c *call) {
	level := slog.LevelDebug
	if a.status >= http.StatusInternalServerError && a.status != http.StatusServiceUnavailable && a.status != http.StatusNotImplemented {
		level = slog.LevelError
	}
	if !log.Enabled(r.Context(), level) {
		return
	}
	log.Log(r.Context(), level, "request", "request", c.id, "caller", c.caller, "remote", r.RemoteAddr,
		"method", cut(r.Method), "path", cut(r.URL.Path), "status", a.status, "bytes", a.bytes, "took", time.Since(a.begun))
}

func cut(s string) string {
	if len(s) <= maxLogged {
		return s
	}
	return strings.ToValidUTF8(s[:maxLogged], "") + "…"
}

// boundedBody lifts the deadline of reading when the body is at its end. The server goes on
// reading from the connection to notice that a caller left, and a deadline that passed there
// would look as if it had: a request that waits for its cell would be cut short.
type boundedBody struct {
	io.ReadCloser
	answer *answer
	whole  io.ReadCloser // the body without the bound
	begun  atomic.Bool   // some of it was asked for, as a long body
}

// Read reads from the body, and lifts the deadline after the last byte.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.answer.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// LongBody returns a request's body without the bounds that other bodies have: as many bytes as come,
// for as long as some come within readTime. Only routes whose bodies are bounded elsewhere use it.
func LongBody(r *http.Request) io.Reader {
	if b, ok := r.Body.(*boundedBody); ok {
		return &longBody{bounded: b}
	}
	return r.Body
}

// Drain reads on, for a while, what a sender still sends whose request has been answered with a refusal:
// if the connection were closed on it, it would see that and not the answer.
func Drain(r *http.Request) {
	b, ok := r.Body.(*boundedBody)
	if !ok || !b.begun.Load() && r.Header.Get("Expect") != "" { // who was not told to send sends nothing
		return
	}
	if b.answer.control.Flush() != nil || b.answer.control.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, b.whole) // until the sender has stopped, or has had its time
}

// longBody gives every piece its own deadline, and lifts it after the last one as boundedBody does.
type longBody struct{ bounded *boundedBody }

// Read reads from the body.
func (b *longBody) Read(p []byte) (int, error) {
	b.bounded.begun.Store(true)
	control := b.bounded.answer.control
	_ = control.SetReadDeadline(time.Now().Add(readTime)) // recorders in tests know no deadlines
	n, err := b.bounded.whole.Read(p)
	if err == io.EOF {
		_ = control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// answer is a ResponseWriter that counts, and gives every piece that is written its own deadline.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	begun   time.Time
	status  int
	bytes   int64
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// extend gives what is written next its time. Recorders in tests know no deadlines.
func (a *answer) extend() { _ = a.control.SetWriteDeadline(time.Now().Add(writeTime)) }

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
	a.extend()
	a.ResponseWriter.WriteHeader(status)
}

// Write writes in pieces.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	done := 0
	for {
		piece := p[done:min(len(p), done+writePiece)]
		a.extend()
		n, err := a.ResponseWriter.Write(piece)
		done += n
		a.bytes += int64(n)
		if err != nil || done == len(p) {
			return done, err
		}
	}
}
