package session

import (
	"context"
	"iter"

	"cellhold"
	"cellhold/internal/transcript"
)

// Text opens what a cell has printed to stdout or stderr so far, as far as it is recorded. The
// context bounds the reading. The caller closes it.
func (s *Session) Text(ctx context.Context, id cellhold.CellID, stream string) (*transcript.Text, error) {
	cell, err := s.Cell(ctx, id)
	if err != nil {
		return nil, err
	}
	source := func(after int64) iter.Seq2[cellhold.Event, error] { return s.m.o.Store.Read(ctx, s.id, after) }
	return transcript.Open(source, cell, stream, s.log.Last())
}
