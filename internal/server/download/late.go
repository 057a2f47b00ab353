package download

import (
	"maps"
	"net/http"
)

// lateHeader delays the header of a success until the first byte of the body. A file can be unreadable although its
// attributes are readable, and http.ServeContent reads a part only after it has written the header.
type lateHeader struct {
	http.ResponseWriter
	before http.Header // the header without those of the file
	status int         // of a success whose header is not written yet; 0 if there is none
	sent   bool
}

// WriteHeader keeps the status of a success with a body, and writes all others.
func (w *lateHeader) WriteHeader(status int) {
	if status == http.StatusOK || status == http.StatusPartialContent {
		w.status = status
		return
	}
	w.sent = true
	w.ResponseWriter.WriteHeader(status)
}

// Write writes the header before the first byte.
func (w *lateHeader) Write(b []byte) (int, error) {
	w.send()
	return w.ResponseWriter.Write(b)
}

// send writes the header, if it is not written.
func (w *lateHeader) send() {
	if w.sent {
		return
	}
	w.sent = true
	if w.status != 0 {
		w.ResponseWriter.WriteHeader(w.status)
	}
}

// Unwrap returns the writer below, for http.ResponseController.
func (w *lateHeader) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// withdraw restores the header from before, so that an error can be the answer. It reports whether that is possible.
func (w *lateHeader) withdraw() bool {
	if w.sent {
		return false
	}
	clear(w.Header())
	maps.Copy(w.Header(), w.before)
	return true
}
