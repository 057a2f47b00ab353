package store

import (
	"cellhold"
	"cellhold/internal/record"
	"context"
	"fmt"
	"time"
)

// copyBytes bounds what one step of a copy writes, so that other writers get in between.
const copyBytes = 1 << 20

// Copy gives a session that is recorded, and has nothing yet, the events of another up to that number,
// and the cells and commands that had begun by then; those that have no events, by that time. Numbers and
// ids stay, but for the session's own. It is for the caller to see that nothing of it is under way, and to
// delete what a copy that failed has left.
func (d *DB) Copy(ctx context.Context, from, to cellhold.SessionID, last int64, at time.Time) error {
	err := d.copyEvents(ctx, from, to, last)
	if err == nil {
		err = d.copyCells(ctx, from, to, last, at)
	}
	if err == nil {
		err = d.copyCommands(ctx, from, to, last)
	}
	if err != nil {
		return fmt.Errorf("copy session %s to %s: %w", from, to, err)
	}
	return nil
}

func (d *DB) copyEvents(ctx context.Context, from, to cellhold.SessionID, last int64) error {
	s := stepper[record.Event]{write: func(evs []record.Event) error { return d.Append(ctx, to, evs) }}
	copied := int64(0)
	for ev, err := range d.Read(ctx, from, 0) {
		if err != nil {
			return err // with one missing, the numbers would have a gap
		}
		if ev.Seq > last {
			break
		}
		copied = ev.Seq
		if err := s.add(ev, len(ev.Content)); err != nil {
			return err
		}
	}
	if copied < last {
		return cellhold.Errorf(cellhold.NotFound, "The session %s was deleted.", from)
	}
	return s.flush()
}

func (d *DB) copyCells(ctx context.Context, from, to cellhold.SessionID, last int64, at time.Time) error {
	s := stepper[record.Cell]{write: func(cells []record.Cell) error { return d.Append(ctx, to, nil, cells...) }}
	for c, err := range d.Cells(ctx, from) {
		if err != nil {
			return err
		}
		if c.First > last || c.First == 0 && c.Submitted.After(at) {
			continue
		}
		c.Session = to
		if err := s.add(c, len(c.Code)+int(c.Bytes-c.Omitted)); err != nil {
			return err
		}
	}
	return s.flush()
}

func (d *DB) copyCommands(ctx context.Context, from, to cellhold.SessionID, last int64) error {
	s := stepper[record.Command]{write: func(list []record.Command) error { return d.AppendCommands(ctx, to, nil, list...) }}
	for c, err := range d.Commands(ctx, from) {
		if err != nil {
			return err
		}
		if c.First > last {
			continue
		}
		c.Session = to
		if err := s.add(c, len(c.Stdout.Text)+len(c.Stdout.Tail)+len(c.Stderr.Text)+len(c.Stderr.Tail)); err != nil {
			return err
		}
	}
	return s.flush()
}

// stepper writes many records in steps.
type stepper[T any] struct {
	write func([]T) error
	list  []T
	bytes int
}

func (s *stepper[T]) add(v T, size int) error {
	s.list = append(s.list, v)
	s.bytes += size
	if len(s.list) < batchRows && s.bytes < copyBytes {
		return nil
	}
	return s.flush()
}

func (s *stepper[T]) flush() error {
	if len(s.list) == 0 {
		return nil
	}
	err := s.write(s.list)
	s.list, s.bytes = nil, 0
	return err
}
