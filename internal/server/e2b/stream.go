package e2b

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// keepAlive is the longest silence of a stream. The write after it also notices that the client left.
const keepAlive = 5 * time.Second

// stream writes the output of one cell, one JSON object on a line.
type stream struct {
	w       http.ResponseWriter
	session *session.Session
	cell    cellhold.CellID
	lines   translator
	out     *exchange.Stream
}

// errGone says that the answer must break off, because the sandbox has ended.
var errGone = errors.New("the sandbox has ended")

// run writes lines until the cell is done. It returns an error if it was not done.
func (x *stream) run(ctx context.Context, after int64) error {
	x.w.Header().Set("Content-Type", "application/x-ndjson")
	x.w.Header().Set("X-Accel-Buffering", "no") // nginx would buffer the lines
	x.out, ctx = exchange.NewStream(ctx, x.w)
	defer x.out.Close()
	if err := x.out.Send(0, func() error { return nil }); err != nil { // the header
		return err
	}
	x.out.KeepAlive(keepAlive, func() error { return x.write(line{Type: "keepalive"}) })
	for ev, err := range x.session.History().Watch(ctx, after) {
		if err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		if ev.Cell != x.cell {
			continue
		}
		if done, err := x.event(ev); done || err != nil {
			return err
		}
	}
	return errGone
}

// event writes the lines of one event. done reports that it was the last one of the cell.
func (x *stream) event(ev cellhold.Event) (done bool, err error) {
	done = ev.Type == cellhold.EventCellDone
	if done && x.session.Record().State == cellhold.SessionEnded {
		return false, errGone
	}
	return done, x.out.Send(len(ev.Content), func() error {
		for _, l := range x.lines.translate(ev) {
			if err := x.write(l); err != nil {
				return err
			}
		}
		return nil
	})
}

// write writes one line. Nothing escapes HTML, because one character would have six bytes.
func (x *stream) write(l any) error {
	b := bufio.NewWriter(x.w)
	enc := json.NewEncoder(lineWriter{b})
	enc.SetEscapeHTML(false)
	return cmp.Or(enc.Encode(l), b.Flush())
}

// lineWriter writes JSON, and escapes the separators of lines that JSON allows in texts. The Python client would cut a line
// there.
type lineWriter struct{ w io.Writer }

// Write writes p with escapes. Each call must have whole characters.
func (l lineWriter) Write(p []byte) (int, error) {
	for rest := p; ; {
		end := bytes.IndexFunc(rest, isSeparator)
		if end < 0 {
			_, err := l.w.Write(rest)
			return len(p), err
		}
		r, size := utf8.DecodeRune(rest[end:])
		if _, err := l.w.Write(rest[:end]); err != nil {
			return 0, err
		}
		if _, err := fmt.Fprintf(l.w, `\u%04x`, r); err != nil {
			return 0, err
		}
		rest = rest[end+size:]
	}
}

// isSeparator reports whether Python's str.splitlines splits at a character that JSON does not escape.
func isSeparator(r rune) bool { return r == '\u0085' || r == '\u2028' || r == '\u2029' }
