package spool

import (
	"io"
	"net/http"
)

// Serve answers a request with the events after a number, one a line, all that are there in one
// write, until the reader goes away or the spool is closed and read.
func (s *Spool) Serve(w http.ResponseWriter, r *http.Request, after int64) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	if out.Flush() != nil { // the headers
		return
	}
	s.follow(w, out.Flush, after, Beside{Gone: r.Context().Done()})
}

// Beside is what goes to a reader beside the events.
type Beside struct {
	Take func() []byte   // returns whole lines that are to be written before the next events; may be nil
	Due  <-chan struct{} // tells that there are some and that they are not to wait for events; may be nil
	Gone <-chan struct{} // closed when nobody reads any more
}

// Follow writes the events after a number and what comes beside them, all that is there in one write,
// until the reader goes away or the spool is closed and read.
func (s *Spool) Follow(w io.Writer, after int64, beside Beside) {
	s.follow(w, func() error { return nil }, after, beside)
}

func (s *Spool) follow(w io.Writer, flush func() error, after int64, beside Beside) {
	buf := make([]byte, 0, 4<<10) // grows to what the bursts of this source need
	unsent := false
	for {
		b := s.Read(after, buf)
		lines := b.Lines
		if beside.Take != nil {
			if more := beside.Take(); len(more) > 0 {
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
		case <-beside.Due:
		case <-beside.Gone:
			return
		}
	}
}
