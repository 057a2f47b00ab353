package exchange

import (
	"cmp"
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
	"cellhold/internal/memory"
)

const (
	// MaxCode is the maximum size of one cell's code. The agent has the same limit.
	MaxCode = 4 << 20
	// MaxBody is the maximum size of a request's body: the largest code with each character escaped, and the
	// JSON around it.
	MaxBody = 8 << 20
	// BodyTime is the time for a body. The largest body fits at 600 kbit/s, and a slow sender cannot hold a
	// connection for hours.
	BodyTime = 2 * time.Minute
	// writeTime is the time after which a reader that reads nothing is disconnected. A slow reader can reconnect
	// and continue after its last event. A dead reader would hold a goroutine permanently.
	writeTime = 30 * time.Second
	// drainTime is the time to keep reading a body after the answer. Clients stop sending when they see the
	// answer.
	drainTime = 5 * time.Second
	// readTime is the longest pause in a long body.
	readTime = 30 * time.Second
	// writePiece is the number of bytes that a reader must read within writeTime: small enough for 20 kbit/s.
	writePiece = 64 << 10
	// steadyRate is the rate in bytes per second at which a reader must read an answer that takes memory of the server's
	// budget. A reader that is steadyTime behind this rate is disconnected.
	steadyRate = 128 << 10
	steadyTime = 30 * time.Second
	// patience is how long a request waits for memory of the server's budget.
	patience = 30 * time.Second
	// maxLogged is the maximum length in the log of texts that callers choose, such as paths.
	maxLogged = 256

	// TooLarge is the error message for both size limits.
	TooLarge = "The request is too large: the limit is 8 MiB for a body and 4 MiB for code."
)

// call has the id and the caller of one request.
type call struct {
	id     string    // request id, in the log and in errors
	caller string    // name of the token; "" before authentication
	path   string    // for the log, in place of the request's; "" means the request's
	body   *sentBody // nil if it is empty
}

type callKey struct{}

// callOf returns the call of the request of this context.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// Caller returns the name of the token of this context's request. It is "" before authentication, and on a
// server without tokens.
func Caller(ctx context.Context) string { return callOf(ctx).caller }

// SetCaller sets the caller of the request of this context.
func SetCaller(ctx context.Context, name string) { callOf(ctx).caller = name }

// SetPath sets the path that the log has for the request of this context. The path of a request to a program in a sandbox can
// have secrets.
func SetPath(ctx context.Context, path string) { callOf(ctx).path = path }

// Instrument adds to every request an id, deadlines, a size limit, the access log and recovery from panics. A client
// that is still sending when the answer is complete gets the answer.
func Instrument(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: "r" + strings.ToLower(rand.Text())}
		r = r.WithContext(memory.WithPatience(context.WithValue(r.Context(), callKey{}, c), patience))
		a := &answer{ResponseWriter: w, control: http.NewResponseController(w), begun: time.Now()}
		_ = a.control.SetWriteDeadline(time.Time{}) // remove the deadline of the previous request
		a.Header().Set("X-Request-Id", c.id)
		setSafeHeaders(a.Header())
		if r.ContentLength != 0 {
			_ = a.control.SetReadDeadline(a.begun.Add(BodyTime))
			c.body = &sentBody{ReadCloser: r.Body, expected: r.Header.Get("Expect") != ""}
			r.Body = &boundedBody{ReadCloser: http.MaxBytesReader(w, c.body, MaxBody+1), answer: a, whole: c.body}
		}
		defer finish(log, a, r, c)
		next.ServeHTTP(a, r)
	})
}

// setSafeHeaders sets headers that restrict browsers; pages that need more override them. Without them a
// browser could show a page that untrusted code wrote as a page of this server. It could also cache the page,
// or let other sites use it.
func setSafeHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

// finish answers a request whose handler panicked, and logs every request.
func finish(log *slog.Logger, a *answer, r *http.Request, c *call) {
	p := recover()
	if p != nil && p != http.ErrAbortHandler && r.Context().Err() == nil {
		log.Error("panic", "request", c.id, "panic", p, "stack", string(debug.Stack()))
	}
	if p != nil && a.status == 0 && p != http.ErrAbortHandler {
		WriteProblem(a, NewProblem(r.Context(), http.StatusInternalServerError, cellhold.Internal,
			InternalDetail))
		p = nil
	}
	logRequest(log, a, r, c)
	if p != nil {
		panic(http.ErrAbortHandler) // a client must not take a part for the whole answer
	}
	a.extend() // time to flush the connection's buffer
	c.body.drain(a)
}

// logRequest writes the access log. Callers choose paths and methods: the log handler escapes them, and
// long ones are cut. Queries, headers and bodies are never logged.
func logRequest(log *slog.Logger, a *answer, r *http.Request, c *call) {
	level := slog.LevelDebug
	if a.status >= http.StatusInternalServerError && a.status != http.StatusServiceUnavailable && a.status != http.StatusNotImplemented && a.status != http.StatusBadGateway {
		level = slog.LevelError
	}
	if !log.Enabled(r.Context(), level) {
		return
	}
	log.Log(r.Context(), level, "request", "request", c.id, "caller", c.caller, "remote", r.RemoteAddr,
		"method", cut(r.Method), "path", cut(cmp.Or(c.path, r.URL.Path)), "status", a.status, "bytes", a.bytes, "took", time.Since(a.begun))
}

func cut(s string) string {
	if len(s) <= maxLogged {
		return s
	}
	return strings.ToValidUTF8(s[:maxLogged], "") + "…"
}

// boundedBody removes the read deadline at the end of the body. The HTTP server keeps reading from the connection
// to notice that a caller left. If the deadline passed during that read, the server would assume that the caller
// left. It would then cancel a request that waits for its cell.
type boundedBody struct {
	io.ReadCloser
	answer *answer
	whole  *sentBody // the body without the limit
}

// Read reads from the body, and removes the deadline after the last byte.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.answer.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// LongBody returns a request's body without the usual limits: any number of bytes, as long as no pause
// exceeds readTime. Only routes that limit the size themselves use it.
func LongBody(r *http.Request) io.Reader {
	if b, ok := r.Body.(*boundedBody); ok {
		return &longBody{bounded: b, pause: readTime}
	}
	return r.Body
}

// SlowBody is LongBody for a body whose sender pauses.
func SlowBody(r *http.Request, pause time.Duration) io.Reader {
	if b, ok := r.Body.(*boundedBody); ok {
		return &longBody{bounded: b, pause: pause}
	}
	return r.Body
}

// sentBody is a body as the client sends it.
type sentBody struct {
	io.ReadCloser
	expected bool        // the client sends only after "100 Continue"
	begun    atomic.Bool // a handler has read from it
	ended    atomic.Bool // nothing is left to read
}

// Read reads from the body.
func (b *sentBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended.Store(true)
	}
	return n, err
}

// drain sends the answer, and then reads for a while what the client still sends. The server refuses many requests
// before it has read the body. If it closed the connection at once, the client would see a broken connection instead
// of the answer.
func (b *sentBody) drain(a *answer) {
	if b == nil || b.ended.Load() || b.expected && !b.begun.Load() {
		return
	}
	if a.control.Flush() != nil || a.control.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, b) // until the client stops sending, or the deadline
}

// longBody sets a new deadline for every read, and removes it after the last one, like boundedBody.
type longBody struct {
	bounded *boundedBody
	pause   time.Duration // the longest pause
}

// Read reads from the body.
func (b *longBody) Read(p []byte) (int, error) {
	control := b.bounded.answer.control
	_ = control.SetReadDeadline(time.Now().Add(b.pause)) // fails in tests, where an httptest.ResponseRecorder has no connection
	n, err := b.bounded.whole.Read(p)
	if err == io.EOF {
		_ = control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// answer is a ResponseWriter that counts bytes, and sets a new deadline for every piece.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	begun   time.Time
	status  int
	bytes   int64

	steady      bool          // the reader must keep steadyRate
	steadyUntil time.Time     // end of the last steady part
	behind      time.Duration // time by which the reader is behind steadyRate
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// extend sets the deadline of the next write. It ignores the error that it gets in tests, where an
// httptest.ResponseRecorder has no connection.
func (a *answer) extend() {
	end := writeTime
	if a.steady {
		end = min(end, steadyTime-a.behind)
	}
	_ = a.control.SetWriteDeadline(time.Now().Add(end))
}

// Steady requires the reader to read the next part of an answer at steadyRate, until the returned function is called.
// Otherwise slow readers could keep memory of the server's budget for hours. Only the time of writes counts, so a
// reader does not pay for the time in which the server reads the next record. A fast reader saves no time for later.
func Steady(w http.ResponseWriter) (end func()) {
	a := answerIn(w)
	if a == nil {
		return func() {}
	}
	a.steady = true
	// The parts of one answer share the time. Otherwise a reader could be slow in each of many large events.
	a.behind = max(a.behind-time.Since(a.steadyUntil), 0)
	return func() { a.steady, a.steadyUntil = false, time.Now() }
}

// answerIn returns the answer in a ResponseWriter that can wrap it. It returns nil in tests without Instrument.
func answerIn(w http.ResponseWriter) *answer {
	for {
		switch x := w.(type) {
		case *answer:
			return x
		case interface{ Unwrap() http.ResponseWriter }:
			w = x.Unwrap()
		default:
			return nil
		}
	}
}

// timed runs a write of n bytes, and counts its time.
func (a *answer) timed(write func() (n int, err error)) (int, error) {
	a.extend()
	begun := time.Now()
	n, err := write()
	if a.steady {
		a.behind = max(a.behind+time.Since(begun)-time.Duration(n)*time.Second/steadyRate, 0)
	}
	return n, err
}

// FlushError sends the bytes in the buffers. http.ResponseController calls it.
func (a *answer) FlushError() error {
	_, err := a.timed(func() (int, error) { return 0, a.control.Flush() })
	return err
}

// WriteHeader records and writes the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
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
		n, err := a.timed(func() (int, error) { return a.ResponseWriter.Write(piece) })
		done += n
		a.bytes += int64(n)
		if err != nil || done == len(p) {
			return done, err
		}
	}
}
