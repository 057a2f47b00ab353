package script

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
)

// runNotebook runs the code cells of a notebook in order until one fails, and prints their outputs.
func (s *Script) runNotebook(ctx context.Context) error {
	pass := interrupter(func(ctx context.Context, _ syscall.Signal) error {
		return s.client.Interrupt(ctx, s.session, "")
	})
	s.running.Store(&pass)
	cells, err := s.client.Import(ctx, s.session, withoutOutputs(s.Source.code), true)
	if err != nil {
		return err
	}
	ran := map[cellhold.CellID]bool{}
	for _, id := range cells {
		c, err := s.client.Cell(ctx, s.session, id)
		if err != nil {
			return err
		}
		ran[id] = c.State != cellhold.CellDone || !c.Started.IsZero()
	}
	cells = slices.DeleteFunc(cells, func(id cellhold.CellID) bool { return !ran[id] })
	return s.followCells(ctx, cells)
}

// followCells prints the outputs of cells until the last one is done. If a cell fails, it cancels the following ones.
func (s *Script) followCells(ctx context.Context, cells []cellhold.CellID) error {
	if len(cells) == 0 {
		return nil
	}
	limited, stop := context.WithTimeoutCause(ctx, s.Timeout, console.ExitError(console.ExitTimeout))
	defer stop()
	for e, err := range s.client.Watch(limited, s.session, 0) {
		if err != nil && ctx.Err() == nil && limited.Err() != nil {
			s.Printer.Exit = console.ExitTimeout
			return s.Printer.note("the notebook did not end by itself: stopped at its deadline of %v (--timeout)", s.Timeout)
		}
		if err != nil {
			return err
		}
		if e.Type == cellhold.EventKernelState {
			s.Printer.kernel(e)
		}
		if e.Cell != cells[0] {
			continue
		}
		done, err := s.Printer.event(e)
		if err != nil {
			return err
		}
		if !done {
			continue
		}
		if cells = cells[1:]; s.Printer.Exit != console.ExitOK || len(cells) == 0 {
			return s.cancelCells(ctx, cells)
		}
	}
	return errors.New("the session ended before the notebook did")
}

// cancelCells cancels cells.
func (s *Script) cancelCells(ctx context.Context, cells []cellhold.CellID) error {
	for _, id := range slices.Backward(cells) {
		if _, err := s.client.Cancel(ctx, s.session, id); err != nil && cellhold.KindOf(err) != cellhold.Conflict {
			return err
		}
	}
	return nil
}

// executed saves the notebook with the outputs of this run, if --output names a folder.
func (s *Script) executed(ctx context.Context) error {
	if !s.Source.notebook() || !s.Dest.named {
		return nil
	}
	name := s.Source.name()
	if why := s.Dest.objection(name); why != "" {
		return s.Printer.note("the executed notebook is not kept: %s; give a new or empty folder with --output", why)
	}
	// The notebook contains output of the code. It is streamed to the disk, with the size limit of the code's files.
	asking, stop := context.WithCancel(ctx)
	defer stop()
	from, to := io.Pipe()
	sent := make(chan struct{})
	go func() { // ends when the notebook is read, or when its reader is closed
		defer close(sent)
		to.CloseWithError(s.client.Notebook(asking, s.session, to))
	}()
	err := s.Dest.keep(name, &bounded{from: from, left: s.MaxBytes})
	from.CloseWithError(io.ErrClosedPipe)
	stop()
	<-sent
	if errors.Is(err, errTooLong) {
		return s.Printer.note("the executed notebook is not kept: it exceeds the limit of %s", console.Size(s.MaxBytes).Rounded())
	}
	if errors.Is(err, errTaken) {
		return s.Printer.note("the executed notebook is not kept: %s exists already; give a new or empty folder with --output", s.Dest.Stem()+notebookEnding)
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	return s.Printer.note("notebook saved as %s", s.Dest.Stem()+notebookEnding)
}
