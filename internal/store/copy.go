package store

import (
	"cellhold"
	"cellhold/internal/record"
	"context"
	"errors"
	"fmt"
	"time"
)

// copyBytes bounds the bytes of one step of a copy, so that other writers can write between steps.
const copyBytes = 1 << 20

// Copy copies events, cells and commands from one session to another, which must be recorded and empty. It copies the
// events up to the number last, and the cells and commands that had begun by then. It also copies the cells without
// events that were submitted by the time at. Numbers and ids do not change, except the session's id. The caller must make
// sure that no cell and no command of the session is running, and must delete the result of a failed copy. A damaged event
// becomes an event of the type record_damaged. The copy lacks damaged cells and commands.
func (d *DB) Copy(ctx context.Context, from, to cellhold.SessionID, last int64, at time.Time) error {
	err := d.copyEvents(ctx, from, to, last)
	if err == nil {
		err = d.copyCells(ctx, from, to, last, at, func(cells []record.Cell) error { return d.Append(ctx, to, nil, cells...) })
	}
	if err == nil {
		err = d.copyCommands(ctx, from, to, last, func(list []record.Command) error { return d.AppendCommands(ctx, to, nil, list...) })
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
		if errors.Is(err, ErrDamaged) && ev.Seq > 0 {
			ev = record.Event{Event: cellhold.Event{Seq: ev.Seq, Type: cellhold.EventRecordDamaged, Content: []byte("{}")}}
			d.log.Error("a damaged event was not copied", "from", from, "to", to, "error", err)
		} else if err != nil {
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
		return errDeleted(from)
	}
	return s.flush()
}

func (d *DB) copyCells(ctx context.Context, from, to cellhold.SessionID, last int64, at time.Time, write func([]record.Cell) error) error {
	s := stepper[record.Cell]{write: write}
	for r, err := range records(ctx, d, from, "cells", "cell", withSize(decodeCell), nil) {
		c := r.value
		if errors.Is(err, ErrDamaged) && c.ID != "" {
			d.log.Error("a damaged cell was not copied", "from", from, "to", to, "error", err)
			continue
		}
		if err != nil {
			return err
		}
		if c.First > last || c.First == 0 && c.Submitted.After(at) {
			continue
		}
		c.Session = to
		if err := s.add(c, r.size); err != nil {
			return err
		}
	}
	return s.flush()
}

func (d *DB) copyCommands(ctx context.Context, from, to cellhold.SessionID, last int64, write func([]record.Command) error) error {
	s := stepper[record.Command]{write: write}
	for r, err := range records(ctx, d, from, "commands", "command", withSize(decodeCommand), nil) {
		c := r.value
		if errors.Is(err, ErrDamaged) && c.ID != "" {
			d.log.Error("a damaged command was not copied", "from", from, "to", to, "error", err)
			continue
		}
		if err != nil {
			return err
		}
		if c.First > last {
			continue
		}
		c.Session = to
		if err := s.add(c, r.size); err != nil {
			return err
		}
	}
	return s.flush()
}

// sized is a record with the size of its stored form. Sums of a record's own counts are not its size: updates of displays
// make outputs larger than the bytes that a cell counts, and arguments make a command larger than its output.
type sized[T any] struct {
	value T
	size  int
}

// withSize returns a decoder that adds the size of the stored form.
func withSize[T any, ID ~string](decode func(cellhold.SessionID, ID, int64, []byte) (T, error)) func(cellhold.SessionID, ID, int64, []byte) (sized[T], error) {
	return func(id cellhold.SessionID, name ID, sum int64, b []byte) (sized[T], error) {
		v, err := decode(id, name, sum, b)
		return sized[T]{v, len(b)}, err
	}
}

// stepper writes many records in steps of copyBytes. A larger record is a step of its own, so that it is written while the
// reader still has its share of the memory for large records.
type stepper[T any] struct {
	write func([]T) error
	list  []T
	bytes int
}

func (s *stepper[T]) add(v T, size int) error {
	if s.bytes+size > copyBytes {
		if err := s.flush(); err != nil {
			return err
		}
	}
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
