package repl

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
)

// run runs code as a cell, and prints its events until it is done.
func (r *REPL) run(ctx context.Context, code string) error {
	cell, err := r.Client.Submit(ctx, r.Session, client.Code{Code: code, Kernel: r.Kernel, AllowStdin: true, Timeout: r.Timeout})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x := &execution{r: r, cell: cell, cancel: cancel}
	defer x.tasks.Wait()
	defer cancel(nil) // before the wait
	done := make(chan struct{})
	defer close(done)
	x.tasks.Go(func() { x.signals(ctx, done) })
	err = x.watch(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// execution is one cell that runs.
type execution struct {
	r      *REPL
	cell   cellhold.Cell
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup

	mu          sync.Mutex
	interrupted bool
	stop        context.CancelFunc // ends the open question; nil if there is none
}

// signals handles signals until the cell is done. The first Ctrl-C interrupts the cell, the second one leaves it.
func (x *execution) signals(ctx context.Context, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case s := <-x.r.Signals:
			x.signal(ctx, s)
		}
	}
}

func (x *execution) signal(ctx context.Context, s os.Signal) {
	x.mu.Lock()
	again := x.interrupted
	x.interrupted = true
	if x.stop != nil {
		x.stop()
	}
	x.mu.Unlock()
	switch {
	case s != syscall.SIGINT:
		x.cancel(console.ExitError(128 + int(s.(syscall.Signal))))
	case again:
		x.cancel(ErrDetached)
	default:
		x.tasks.Go(func() { x.interrupt(ctx) }) // the next signal must not wait for it
	}
}

// interrupt cancels the cell. A queued cell must not run later: the user did not want it.
func (x *execution) interrupt(ctx context.Context) {
	if _, err := x.r.Client.Cancel(ctx, x.r.Session, x.cell.ID); err != nil && cellhold.KindOf(err) != cellhold.Conflict && ctx.Err() == nil {
		x.cancel(err)
	}
}

// watch prints the events of the cell.
func (x *execution) watch(ctx context.Context) error {
	after := max(x.cell.First-1, 0)
	for e, err := range x.r.Client.Watch(ctx, x.r.Session, after) {
		if err != nil {
			return err
		}
		if e.Type == cellhold.EventSessionEnded {
			return cellhold.Errorf(cellhold.NotFound, "The session has ended.")
		}
		if e.Cell != x.cell.ID {
			continue
		}
		if done, err := x.event(ctx, e); done || err != nil {
			return err
		}
	}
	return errors.New("the session ended before the cell did")
}

func (x *execution) event(ctx context.Context, e cellhold.Event) (done bool, err error) {
	switch e.Type {
	case cellhold.EventCellQueued:
		var c cellhold.CellQueuedContent
		if err := e.Decode(&c); err == nil && c.Position > 0 {
			return false, x.r.Printer.Note("the cell waits for %d earlier cells; Ctrl-C cancels it", c.Position)
		}
	case cellhold.EventCellStarted:
		var c cellhold.CellStartedContent
		if err := e.Decode(&c); err == nil && c.ExecutionCount > 0 {
			x.r.count = c.ExecutionCount + 1
		}
	case cellhold.EventInputRequest:
		return false, x.ask(ctx, e)
	case cellhold.EventCellDone:
		var c cellhold.CellDoneContent
		if err := e.Decode(&c); err != nil {
			return true, err
		}
		if c.ExecutionCount > 0 {
			x.r.count = c.ExecutionCount + 1
		}
		return true, x.r.Printer.Done(c)
	}
	return false, x.r.Printer.Event(ctx, e)
}

// ask shows a question of input(), and sends the answer of the user.
func (x *execution) ask(ctx context.Context, e cellhold.Event) error {
	var c cellhold.InputRequestContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	if now, err := x.r.Client.Cell(ctx, x.r.Session, x.cell.ID); err != nil || now.Input == nil {
		return err // another caller has answered
	}
	asking, stop := context.WithCancel(ctx)
	defer stop()
	x.mu.Lock()
	x.stop = stop
	x.mu.Unlock()
	var watching sync.WaitGroup
	watching.Go(func() { x.awaitAnswer(asking, e.Seq, stop) })
	text, err := x.answer(asking, c)
	stop()
	watching.Wait()
	x.mu.Lock()
	x.stop = nil
	x.mu.Unlock()
	if err != nil {
		return nil // a signal or another answer ended the question; at the end of the input, the cell's timeout ends it
	}
	err = x.r.Client.Answer(ctx, x.r.Session, x.cell.ID, e.Seq, text)
	if cellhold.KindOf(err) == cellhold.Conflict {
		return x.r.Printer.Note("the answer came too late")
	}
	return err
}

// awaitAnswer ends a question when another caller has answered it, or when the cell is done.
func (x *execution) awaitAnswer(ctx context.Context, question int64, stop context.CancelFunc) {
	for e, err := range x.r.Client.Watch(ctx, x.r.Session, question) {
		if err != nil {
			return
		}
		if e.Cell == x.cell.ID && (e.Type == cellhold.EventInputReply || e.Type == cellhold.EventCellDone) {
			stop()
			return
		}
	}
}

func (x *execution) answer(ctx context.Context, c cellhold.InputRequestContent) (string, error) {
	if _, err := x.r.Printer.Out.WriteString(c.Prompt); err != nil {
		return "", err
	}
	text, err := x.r.lines.Read(ctx, c.Password)
	if err == nil && c.Password {
		_, err = x.r.Printer.Out.WriteString("\n") // the terminal did not show Enter
	}
	return text, err
}
