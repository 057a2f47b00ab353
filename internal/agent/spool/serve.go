package spool

import "net/http"

// Serve answers a request with the events after a number, one a line, all that are there in one
// write, until the reader goes away or the spool is closed and read.
func (s *Spool) Serve(w http.ResponseWriter, r *http.Request, after int64) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	buf := make([]byte, 0, 4<<10) // grows to what the bursts of this source need
	unsent := true                // the headers
	for {
		b := s.Read(after, buf)
		if len(b.Lines) > 0 {
			if _, err := w.Write(b.Lines); err != nil {
				return
			}
			after, unsent = b.Last, true
			if !b.shared {
				buf = b.Lines
			}
			continue
		}
		if unsent {
			if err := out.Flush(); err != nil {
				return
			}
			unsent = false
		}
		if b.Changed == nil {
			return
		}
		select {
		case <-b.Changed:
		case <-r.Context().Done():
			return
		}
	}
}
