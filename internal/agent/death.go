package agent

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"cellhold"
)

// The reasons why we end a kernel process.
var (
	errRestart  = errors.New("the kernel was restarted")
	errDeleted  = errors.New("the kernel was shut down")
	errStopped  = errors.New("the agent stopped")
	errDeadline = errors.New("the cell did not stop at its deadline")
)

// death says how a life ended, and what comes next.
type death struct {
	state cellhold.KernelStateContent
	cell  cellhold.CellDoneContent // for the cell that was running
	again bool                     // start anew at once
}

// autopsy says how a life ended: by our will, or by itself.
func (l *life) autopsy(ctx context.Context, err error) death {
	if ctx.Err() != nil {
		return ended(ctx, cellhold.KernelStateContent{})
	}
	// A process that ends closes its sockets a moment before we hear of its end.
	wait, cancel := l.kernel.agent.grace(ctx)
	defer cancel()
	select {
	case <-l.proc.Done():
		return died(l.proc.Exit())
	case <-wait.Done():
		return ended(ctx, deadState(cellhold.StatusExit, fmt.Sprintf("The kernel was ended: %s.", sentence(err.Error()))))
	}
}

// ended is the death of a life that we ended: for the reason in the context, or as the state says.
func ended(ctx context.Context, s cellhold.KernelStateContent) death {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return death{state: s, cell: cellhold.CellDoneContent{Status: s.Cause, Cause: s.Detail}}
	case errors.Is(cause, errRestart):
		return death{again: true, cell: cellhold.CellDoneContent{Status: cellhold.StatusInterrupted, Cause: "The kernel was restarted."}}
	case errors.Is(cause, errDeadline):
		return death{
			again: true,
			state: deadState(cellhold.StatusTimeout, "The kernel was killed because a cell did not stop at its deadline."),
			cell: cellhold.CellDoneContent{
				Status: cellhold.StatusTimeout,
				Cause:  "It did not stop at its deadline, so its kernel was restarted: the variables are lost.",
			},
		}
	default:
		const shut = "The kernel was shut down."
		return death{state: deadState("", shut), cell: cellhold.CellDoneContent{Status: cellhold.StatusInterrupted, Cause: shut}}
	}
}

func deadState(cause cellhold.CellStatus, detail string) cellhold.KernelStateContent {
	return cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: cause, Detail: detail}
}

// died is the death of a kernel whose process ended by itself.
func died(e Exit) death {
	s := deadState(cellhold.StatusExit, fmt.Sprintf("The kernel process ended with exit status %d.", e.Code))
	s.Exit = e.Code
	if e.Signal != 0 {
		s = deadState(cellhold.StatusSignal, fmt.Sprintf("The kernel process was ended by signal %d (%s).", e.Signal, syscall.Signal(e.Signal)))
		s.Signal = e.Signal
	}
	if line := lastWords(e.Output); line != "" {
		s.Detail += " Its last words: " + line
	}
	return death{state: s, cell: cellhold.CellDoneContent{Status: s.Cause, Cause: s.Detail}}
}
