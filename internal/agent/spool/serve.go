package spool

import (
	"io"
	"net/http"
)

// Serve answers a request with the events after a number, one per line. It writes all available events at
// once. It ends when the reader disconnects, or when the spool is closed and read to its end.
func (s *Spool) Serve(w http.ResponseWriter, r *http.Request, after int64) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	if out.Flush() != nil { // the headers
		return
	}
	s.follow(w, out.Flush, after, Extra{Gone: r.Context().Done()})
}

// Extra has additional lines for a reader of events.
type Extra struct {
	Take func() []byte   // returns whole lines that must be written before the next events; may be nil
	Due  <-chan struct{} // receives when such lines must not wait for events; may be nil
	Gone <-chan struct{} // closed when the reader has disconnected
}

// Follow writes the events after a number and the lines of extra. It writes all that is available at once.
// It ends when the reader disconnects, or when the spool is closed and read to its end.
func (s *Spool) Follow(w io.Writer, after int64, extra Extra) {
	s.follow(w, func() error { return nil }, after, extra)
}

func (s *Spool) follow(w io.Writer, flush func() error, after int64, extra Extra) {
	buf := make([]byte, 0, 4<<10) // grows to the size of the bursts of this source
	unsent := false
	for {
		b := s.Read(after, buf)
		lines := b.Lines
		if extra.Take != nil {
			if more := extra.Take(); len(more) > 0 {
				lines = append(more, lines...)
			}
		}
		if len(lines) > 0 {
			if _, err := w.Write(lines); err != nil {
				return
			}
			after, unsent = b.Last, true
			if len(b.Lines) > 0 && !b.shared {
				buf = b.Lines
			}
			continue
		}
		if unsent {
			if err := flush(); err != nil {
				return
			}
			unsent = false
		}
		if b.Changed == nil {
			return
		}
		select {
		case <-b.Changed:
		case <-extra.Due:
		case <-extra.Gone:
			return
		}
	}
}
