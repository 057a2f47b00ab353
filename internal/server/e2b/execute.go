package e2b

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"cellhold"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// execution is the body of a request to run code. E2B's Python SDK sends null for absent values.
type execution struct {
	Code     json.RawMessage   `json:"code"`
	Context  string            `json:"context_id"`
	Language string            `json:"language"`
	Env      map[string]string `json:"env_vars"`
}

// execute runs code and streams its output. If the client leaves, the code is interrupted.
func (d *door) execute(w http.ResponseWriter, r *http.Request, s *session.Session) {
	var q execution
	if err := exchange.DecodeJSON(r, &q); err != nil {
		d.failText(w, r, err)
		return
	}
	var code string
	if json.Unmarshal(q.Code, &code) != nil || string(q.Code) == "null" {
		refuseCode(w)
		return
	}
	if q.Context != "" && q.Language != "" {
		d.failText(w, r, cellhold.Errorf(cellhold.Invalid, "Only one of context_id or language can be provided"))
		return
	}
	ctx, leave := d.Waiters.Enter(r.Context())
	defer leave()
	kernel, err := d.kernelOf(ctx, s, q)
	if err == nil {
		err = d.revive(ctx, s, kernel)
	}
	if err != nil {
		d.failRun(w, r.WithContext(ctx), s, err)
		return
	}
	after := s.History().Last()
	cell, err := s.Execute(ctx, session.ExecuteRequest{Kernel: kernel, Code: code, Env: q.Env, Timeout: d.Sessions.MaxTimeout()})
	if err != nil {
		d.failRun(w, r.WithContext(ctx), s, err)
		return
	}
	x := &stream{w: w, session: s, cell: cell.ID}
	if err := x.run(ctx, after); err != nil {
		d.abandon(ctx, x, err)
		panic(http.ErrAbortHandler) // otherwise the client would treat a part of the answer as complete
	}
}

// abandon handles an error of the stream. If the client left, abandon cancels the cell. If the server shuts down, the
// code continues, because the client can ask the next server. Otherwise the client is still connected. The code then
// continues, and abandon logs the error. If the sandbox has ended, abandon does nothing.
func (d *door) abandon(ctx context.Context, x *stream, err error) {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, exchange.ErrAway), errors.Is(err, errGone):
	case cause != nil, errors.Is(err, exchange.ErrLeft):
		acting, cancel := exchange.Act(ctx)
		defer cancel()
		_, _ = x.session.CancelCell(acting, x.cell) // fails only if the cell is done
	default:
		d.Logger.Warn("the output of a cell could not be sent", "session", x.session.ID(), "cell", x.cell, "err", err)
	}
}

// failRun answers a request whose code does not run.
func (d *door) failRun(w http.ResponseWriter, r *http.Request, s *session.Session, err error) {
	if access.IsGone(s, err) {
		access.WriteGone(w, string(s.ID()))
		return
	}
	d.failText(w, r, err)
}

// kernelOf returns the kernel that must run the code.
func (d *door) kernelOf(ctx context.Context, s *session.Session, q execution) (cellhold.KernelID, error) {
	if q.Context != "" {
		return d.contextKernel(ctx, s, q.Context)
	}
	return d.kernelFor(ctx, s, q.Language)
}
