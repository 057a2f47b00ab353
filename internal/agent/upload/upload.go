// Package upload gives the sender of a request body the answer, also if the answer comes before the end of the body.
//
// A refusal often comes early: an archive is invalid, or the disk is full. If the receiver closed the connection at
// once, the sender would see a broken connection instead of the refusal. The receiver sends the answer and keeps
// reading for a while. It does not store or check what it reads then.
package upload

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// drainTime is the time to keep reading a body after the answer. The sender stops when it has the answer.
const drainTime = 5 * time.Second

// body is the body of a request. It remembers how far it was read.
type body struct {
	io.ReadCloser
	expected bool        // the sender sends only after "100 Continue"
	begun    atomic.Bool // a part was read
	ended    atomic.Bool // nothing is left to read
	broken   atomic.Bool // the sender failed
}

// Handler returns a handler that serves requests with h. After the answer it reads what the sender still sends.
func Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			h.ServeHTTP(w, r)
			return
		}
		b := &body{ReadCloser: r.Body, expected: r.Header.Get("Expect") != ""}
		r = r.WithContext(r.Context()) // the HTTP server needs its own body in its own request
		r.Body = b
		h.ServeHTTP(w, r)
		b.drain(w)
	})
}

// Broken reports whether the sender failed before the end of the body. The handler of the request must be in a
// Handler, and must not have replaced the body.
func Broken(r *http.Request) bool {
	b, ok := r.Body.(*body)
	return ok && b.broken.Load()
}

// Read reads from the body.
func (b *body) Read(p []byte) (int, error) {
	b.begun.Store(true)
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended.Store(true)
		b.broken.Store(err != io.EOF)
	}
	return n, err
}

// drain sends the answer, and reads until the sender stops, or for drainTime.
func (b *body) drain(w http.ResponseWriter) {
	if b.ended.Load() || b.expected && !b.begun.Load() {
		return
	}
	out := http.NewResponseController(w)
	if out.Flush() != nil || out.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, b)
}
