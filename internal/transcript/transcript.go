// Package transcript reads the printed text of a cell from the recorded events, as a file.
//
// It keeps only the text of one event in memory. Open reads all events of the cell, and the reads after Open and after
// each Seek begin at the first event again. A long text takes more time, but no more memory.
package transcript

import (
	"errors"
	"io"
	"iter"

	"cellhold"
)

// Source yields the events with numbers above after, in order. They include the events of the cell.
type Source func(after int64) iter.Seq2[cellhold.Event, error]

// Text is the text of one stream of a cell at the time of Open. It is an io.ReadSeeker for one goroutine at
// a time. The caller must close it.
type Text struct {
	source      Source
	cell        cellhold.CellID
	stream      string
	after, last int64 // the events to read: after the first number, up to the last
	size        int64
	pos         int64

	next  func() (cellhold.Event, error, bool) // nil when no reading is in progress
	stop  func()
	piece string // text that was read but not returned yet
	skip  int64  // bytes to skip before the next piece
}

// Open finds the text of a stream (stdout or stderr) of a cell in the events up to the number last.
func Open(source Source, cell cellhold.Cell, stream string, last int64) (*Text, error) {
	t := &Text{source: source, cell: cell.ID, stream: stream, after: max(cell.First, 1) - 1, last: last}
	for {
		piece, err := t.read()
		if errors.Is(err, io.EOF) {
			return t, t.Close()
		}
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		t.size += int64(len(piece))
	}
}

// Size returns the length of the text in bytes.
func (t *Text) Size() int64 { return t.size }

// read returns the next piece of the text.
func (t *Text) read() (string, error) {
	if t.next == nil {
		t.next, t.stop = iter.Pull2(t.source(t.after))
	}
	for {
		ev, err, ok := t.next()
		switch {
		case !ok || err == nil && ev.Seq > t.last:
			return "", io.EOF
		case err != nil && ev.Seq > 0:
			continue // one damaged event does not hide the other events
		case err != nil:
			return "", err
		}
		if ev.Type == cellhold.EventStream && ev.Cell == t.cell {
			var c cellhold.StreamContent
			if ev.Decode(&c) == nil && c.Name == t.stream {
				return c.Text, nil
			}
		}
		if ev.Seq == t.last {
			return "", io.EOF
		}
	}
}

// Read continues where the last Read ended, or where Seek set the offset.
func (t *Text) Read(p []byte) (int, error) {
	if t.pos >= t.size {
		return 0, io.EOF
	}
	for t.piece == "" {
		piece, err := t.read()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the text was longer at Open: the session's records were removed
		}
		if err != nil {
			return 0, err
		}
		n := min(t.skip, int64(len(piece)))
		t.skip -= n
		t.piece = piece[n:]
	}
	n := copy(p, t.piece)
	t.piece = t.piece[n:]
	t.pos += int64(n)
	return n, nil
}

// Seek sets the offset of the next Read.
func (t *Text) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += t.pos
	case io.SeekEnd:
		offset += t.size
	}
	if offset < 0 {
		return 0, errors.New("transcript: negative offset")
	}
	if offset != t.pos {
		if err := t.Close(); err != nil {
			return 0, err
		}
		t.pos, t.skip = offset, offset
	}
	return offset, nil
}

// Close ends the reading in progress. It can be called twice. A later Read starts a new reading.
func (t *Text) Close() error {
	if t.stop != nil {
		t.stop()
	}
	t.next, t.stop, t.piece = nil, nil, ""
	t.pos, t.skip = 0, 0
	return nil
}
