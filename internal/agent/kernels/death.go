package kernels

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"cellhold"
)

// The reasons for which the agent ends a kernel process.
var (
	errRestart  = errors.New("the kernel was restarted")
	errDeleted  = errors.New("the kernel was shut down")
	errDeadline = errors.New("the cell did not stop at its deadline")
	errLate     = errors.New("it was not ready in time")
)

// processEnd says how a kernel process ended, and whether another one follows.
type processEnd struct {
	state   cellhold.KernelStateContent
	cell    cellhold.CellDoneContent // for the cell that was running
	restart bool                     // start another process at once

	noStream string // why the process could not use its stream; empty if it could, or has none
}

// endOf returns how the process ended: by itself, or because the agent ended it.
func (p *process) endOf(ctx context.Context, err error) processEnd {
	if ctx.Err() != nil {
		return endedByAgent(ctx, cellhold.KernelStateContent{})
	}
	// A process that ends closes its sockets a moment before its end is reported.
	wait, cancel := p.kernel.grace(ctx)
	defer cancel()
	select {
	case <-p.proc.Done():
		return endedByItself(p.proc.Exit())
	case <-wait.Done():
		return endedByAgent(ctx, deadState(cellhold.StatusExit, fmt.Sprintf("The kernel was ended: %s.", Sentence(err.Error()))))
	}
}

// endedByAgent returns the end of a process that the agent ended. The cause of the context is the reason.
// Without a cause, s has the reason.
func endedByAgent(ctx context.Context, s cellhold.KernelStateContent) processEnd {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return processEnd{state: s, cell: cellhold.CellDoneContent{Status: s.Cause, Cause: s.Detail}}
	case errors.Is(cause, errRestart):
		return processEnd{restart: true, cell: cellhold.CellDoneContent{Status: cellhold.StatusInterrupted, Cause: "The kernel was restarted."}}
	case errors.Is(cause, errDeadline):
		return processEnd{
			restart: true,
			state:   deadState(cellhold.StatusTimeout, "The kernel was killed because a cell did not stop at its deadline."),
			cell: cellhold.CellDoneContent{
				Status: cellhold.StatusTimeout,
				Cause:  "The cell did not stop at its deadline, so its kernel was restarted: the variables are lost.",
			},
		}
	default:
		const shut = "The kernel was shut down."
		return processEnd{state: deadState("", shut), cell: cellhold.CellDoneContent{Status: cellhold.StatusInterrupted, Cause: shut}}
	}
}

func deadState(cause cellhold.CellStatus, detail string) cellhold.KernelStateContent {
	return cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: cause, Detail: detail}
}

// endedByItself returns the end of a kernel process with exit status e.
func endedByItself(e Exit) processEnd {
	s := deadState(cellhold.StatusExit, fmt.Sprintf("The kernel process ended with exit status %d.", e.Code))
	s.Exit = e.Code
	if e.Signal != 0 {
		s = deadState(cellhold.StatusSignal, fmt.Sprintf("The kernel process was ended by signal %d (%s).", e.Signal, syscall.Signal(e.Signal)))
		s.Signal = e.Signal
	}
	if line := errorLine(e.Output); line != "" {
		s.Detail += " Its last output: " + line
	}
	return processEnd{state: s, cell: cellhold.CellDoneContent{Status: s.Cause, Cause: s.Detail}}
}
