package server

import (
	"bufio"
	"io"
	"net/http"

	"cellhold/internal/server/exchange"
)

// pieceBytes is the size of the pieces in which lists and cells are written.
const pieceBytes = 32 << 10

// listWriter writes a JSON object whose first member is a list, one item at a time: all items together can be larger than
// the memory that one request should use. The caller must call end.
type listWriter struct {
	w    http.ResponseWriter
	b    *bufio.Writer
	open string // text before the next item
	any  bool   // an item was written
	end  func()
}

// newListWriter returns a writer of an object that begins with the text open.
func newListWriter(w http.ResponseWriter, open string) *listWriter {
	return &listWriter{w: w, b: bufio.NewWriterSize(w, pieceBytes), open: open, end: exchange.Steady(w)}
}

// item writes one item.
func (l *listWriter) item(write func(io.Writer) error) {
	l.w.Header().Set("Content-Type", "application/json")
	_, _ = l.b.WriteString(l.open) // the next write returns the error
	l.open, l.any = ",", true
	if write(l.b) != nil {
		panic(http.ErrAbortHandler) // the reader left, or must not take a part for the whole list
	}
}

// empty reports whether nothing is written yet.
func (l *listWriter) empty() bool { return !l.any }

// finish writes the end of the object. An error means that the reader left.
func (l *listWriter) finish(text string) {
	l.w.Header().Set("Content-Type", "application/json")
	if !l.any {
		_, _ = l.b.WriteString(l.open)
	}
	_, _ = l.b.WriteString(text + "\n")
	_ = l.b.Flush()
}
