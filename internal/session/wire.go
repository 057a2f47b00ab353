package session

import (
	"context"
	"errors"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/session/terms"
	"cellhold/internal/wire"
)

// Frame is one Jupyter message, and Wire is a connection of one Jupyter client to one kernel.
type (
	Frame = wire.Frame
	Wire  = *wire.Wire
)

// Wire connects a Jupyter client to a kernel. See wire.Hub.Connect.
func (s *Session) Wire(ctx context.Context, k cellhold.KernelID, client string) (Wire, error) {
	if s.Record().State == cellhold.SessionEnded {
		return nil, cellhold.Errorf(cellhold.NotFound, "The session has ended.")
	}
	return s.wires.Connect(ctx, k, client)
}

// wireSession is a session in the form that package wire needs. wire.Session describes the methods.
type wireSession struct{ *Session }

func (s wireSession) Kernel(id cellhold.KernelID) (cellhold.KernelID, wire.Queue, error) {
	k, err := s.sandboxes.following().Kernel(id)
	if err != nil {
		return "", nil, err
	}
	return k.State().ID, k, nil
}

func (s wireSession) Present() wire.Sandbox {
	if l := s.sandboxes.current(); l != nil {
		return l.Attachment
	}
	return nil
}

func (s wireSession) Enter(ctx context.Context) (wire.Sandbox, func(), error) {
	a, leave, err := s.Session.Enter(ctx)
	if errors.Is(err, ErrNoSandbox) {
		err = cellhold.Errorf(cellhold.Conflict, "The kernel is dead, because the session's sandbox has ended. Restart the kernel.")
	}
	return a, leave, err
}

func (s wireSession) Cell(ctx context.Context, id cellhold.CellID) (record.Cell, error) {
	return s.sandboxes.storedCell(ctx, id)
}

// Submit queues a cell. Its deadline is the longest one, because front ends have no deadline.
func (s wireSession) Submit(ctx context.Context, c terms.Cell) error {
	c.Timeout = s.env.MaxCellTimeout
	_, err := s.Execute(ctx, c)
	return err
}

func (s wireSession) Ended() bool                { return s.Record().State == cellhold.SessionEnded }
func (s wireSession) Go(f func(context.Context)) { s.wg.Go(func() { f(s.ctx) }) }
