package envd

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"cellhold"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/exchange"
)

// codeOf maps the kinds of error to the codes of Connect.
var codeOf = map[cellhold.Kind]connect.Code{
	cellhold.Invalid:     connect.CodeInvalidArgument,
	cellhold.NotFound:    connect.CodeNotFound,
	cellhold.Conflict:    connect.CodeFailedPrecondition,
	cellhold.Denied:      connect.CodePermissionDenied,
	cellhold.Exhausted:   connect.CodeResourceExhausted,
	cellhold.Unavailable: connect.CodeUnavailable,
	cellhold.Unsupported: connect.CodeUnimplemented,
	cellhold.Internal:    connect.CodeInternal,
}

// statusOf maps the kinds of error to the HTTP statuses of the file routes.
var statusOf = map[cellhold.Kind]int{
	cellhold.Invalid:     http.StatusBadRequest,
	cellhold.NotFound:    http.StatusNotFound,
	cellhold.Conflict:    http.StatusBadRequest, // for example, the path is a directory and not a file
	cellhold.Denied:      http.StatusForbidden,
	cellhold.Exhausted:   http.StatusTooManyRequests,
	cellhold.Unavailable: http.StatusServiceUnavailable,
	cellhold.Unsupported: http.StatusBadRequest,
	cellhold.Internal:    http.StatusInternalServerError,
}

// problem converts an error to the Connect error of a procedure. It logs the details, except for a Connect error or a
// timeout.
func (s *Server) problem(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errTimeout()
	}
	p := exchange.ProblemOf(ctx, s.o.Logger, err)
	return connect.NewError(codeOf[p.Kind], errors.New(p.Detail))
}

// errTimeout returns the error of a request whose timeout passed.
func errTimeout() error {
	return connect.NewError(connect.CodeDeadlineExceeded, cellhold.Errorf(cellhold.Unavailable, "The timeout of the request passed."))
}

// fail writes an error as the answer of a file route.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := exchange.ProblemOf(r.Context(), s.o.Logger, err)
	status := statusOf[p.Kind]
	if errors.Is(err, errNoSpace) {
		status = http.StatusInsufficientStorage
	}
	access.WriteRefused(w, status, p.Detail)
}

// outcome converts the error of a procedure to a Connect error. If the sandbox is gone, outcome returns the error that
// clients make from the answer of access.WriteGone.
func (s *Server) outcome(ctx context.Context, c *call, err error) error {
	if access.IsGone(c.session, err) {
		return connect.NewError(connect.CodeUnavailable, cellhold.Errorf(cellhold.Unavailable, "The sandbox was not found"))
	}
	return s.problem(ctx, err)
}

// unary returns a Connect handler that checks the user and calls f. The handler converts the errors of both steps to
// Connect errors.
func unary[I, O any](s *Server, f func(context.Context, *call, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		c := callOf(ctx)
		if err := checkUser(c.user); err != nil {
			return nil, userError(err)
		}
		out, err := f(ctx, c, in)
		if err != nil {
			return nil, s.outcome(ctx, c, err)
		}
		return out, nil
	}
}

// streaming is like unary, for an f that sends a stream of answers. If f returns errGone, the handler breaks the
// connection.
func streaming[I, O any](s *Server, f func(context.Context, *call, *I, *connect.ServerStream[O]) error) func(context.Context, *I, *connect.ServerStream[O]) error {
	return func(ctx context.Context, in *I, out *connect.ServerStream[O]) error {
		c := callOf(ctx)
		if err := checkUser(c.user); err != nil {
			return userError(err)
		}
		err := f(ctx, c, in, out)
		if errors.Is(err, errGone) {
			panic(http.ErrAbortHandler)
		}
		return s.outcome(ctx, c, err)
	}
}

// userError returns the Connect error for a user that checkUser refused. For an unknown user, the clients expect
// the code unauthenticated.
func userError(err error) error {
	code := connect.CodeUnauthenticated
	if cellhold.KindOf(err) == cellhold.Denied {
		code = connect.CodePermissionDenied
	}
	return connect.NewError(code, err)
}

// pingHeader names the request header with the interval of keepalives, in seconds.
const pingHeader = "Keepalive-Ping-Interval"

// The default of the interval of keepalives, which is also its maximum, and its minimum.
const (
	defaultPing = 90 * time.Second
	leastPing   = time.Second
)

func pingOf(r *http.Request) time.Duration {
	if d, err := time.ParseDuration(r.Header.Get(pingHeader) + "s"); err == nil && d > 0 {
		return min(max(d, leastPing), defaultPing)
	}
	return defaultPing
}

// readCloser reads from one reader and closes another.
type readCloser struct {
	io.Reader
	io.Closer
}
