package store

import (
	"cellhold"
	"cellhold/internal/record"
	"context"
	"fmt"
	"time"
)

// copyBytes bounds the bytes of one step of a copy, so that other writers can write between steps.
const copyBytes = 1 << 20

// Copy copies events, cells and commands from one session to another, which must be recorded and empty. It copies the
// events up to the number last, and the cells and commands that had begun by then. It also copies the cells without
// events that were submitted by the time at. Numbers and ids do not change, except the session's id. The caller must make
// sure that no cell and no command of the session is running, and must delete the result of a failed copy.
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
			return err // a missing event would leave a gap in the numbers
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
		return cellhold.Errorf(cellhold.NotFound, "Session %s was deleted.", from)
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
