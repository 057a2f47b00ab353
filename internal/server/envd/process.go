package envd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/server/envd/processpb"
	"cellhold/internal/server/exchange"
)

// start starts a process and streams its output. If the client leaves, the process continues. At the timeout of the
// request it ends.
func (s *Server) start(ctx context.Context, c *call, in *processpb.StartRequest, out *connect.ServerStream[processpb.StartResponse]) error {
	q := attachment.CommandRequest{Args: append([]string{in.GetProcess().GetCmd()}, in.GetProcess().GetArgs()...), Env: in.GetProcess().GetEnvs(),
		Tag: in.GetTag(), NoInput: in.Stdin != nil && !in.GetStdin(), Timeout: s.o.Sessions.MaxTimeout()}
	if in.Pty != nil {
		size := terminalOf(in.GetPty().GetSize())
		q.Terminal, q.NoInput = &size, false
	}
	deadline, timed := ctx.Deadline()
	if timed { // it also holds if the client leaves before
		q.Timeout = max(min(q.Timeout, time.Until(deadline)), time.Millisecond)
	}
	if dir := in.GetProcess().GetCwd(); dir != "" {
		q.Dir = absolute(dir)
		if err := checkDir(ctx, c, q.Dir); err != nil {
			return err
		}
	}
	x, err := c.session.StartCommand(ctx, q)
	if err != nil {
		return err
	}
	f := &follower{call: c, command: x, terminal: q.Terminal != nil, timed: timed, send: func(e *processpb.ProcessEvent) error {
		return out.Send(&processpb.StartResponse{Event: e})
	}}
	err = f.run(ctx, x.First)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		acting, cancel := exchange.Act(ctx)
		defer cancel()
		if run, rerr := c.session.Commands(acting, x.ID); rerr == nil {
			err = errors.Join(err, run.Kill(acting, x.ID))
		}
	}
	return err
}

// The size of a terminal whose client names none.
const (
	defaultRows = 24
	defaultCols = 80
)

// terminalOf returns a size that a terminal can have.
func terminalOf(size *processpb.PTY_Size) cellhold.Terminal {
	side := func(n uint32, none int) int { return min(cmp.Or(int(n), none), 1000) }
	return cellhold.Terminal{Rows: side(size.GetRows(), defaultRows), Cols: side(size.GetCols(), defaultCols)}
}

// checkDir refuses a working directory that does not exist.
func checkDir(ctx context.Context, c *call, dir string) error {
	a, leave, err := c.session.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	f, err := a.StatFile(ctx, dir, true)
	if cellhold.KindOf(err) == cellhold.NotFound || err == nil && f.Type != cellhold.FileDirectory {
		return cellhold.Errorf(cellhold.Invalid, "cwd '%.400s' does not exist", valid(dir))
	}
	return err
}

// connect joins a running process. It streams only output that comes from now on.
func (s *Server) connect(ctx context.Context, c *call, in *processpb.ConnectRequest, out *connect.ServerStream[processpb.ConnectResponse]) error {
	after := c.session.History().Last()
	x, err := find(c, in.GetProcess())
	if err != nil {
		return err
	}
	f := &follower{call: c, command: x, terminal: x.Terminal != nil, send: func(e *processpb.ProcessEvent) error {
		return out.Send(&processpb.ConnectResponse{Event: e})
	}}
	return f.run(ctx, after)
}

// follower streams the events of one command.
type follower struct {
	*call
	command  cellhold.Command
	terminal bool
	timed    bool // the timeout of the command is that of the request
	send     func(*processpb.ProcessEvent) error
}

// errGone is the error of a stream whose sandbox has ended. It breaks the connection, because the clients then ask whether
// the sandbox exists.
var errGone = errors.New("the sandbox has ended")

// run sends the start, and the events with numbers above after, until the command is done.
func (f *follower) run(ctx context.Context, after int64) error {
	out, ctx := exchange.NewStream(ctx, f.w)
	defer out.Close()
	watch, err := f.session.History().WatchCommand(ctx, f.command.ID, after)
	if err != nil {
		return err
	}
	begin := &processpb.ProcessEvent{Event: &processpb.ProcessEvent_Start{Start: &processpb.ProcessEvent_StartEvent{Pid: uint32(f.command.PID)}}}
	if err := out.Send(0, func() error { return f.send(begin) }); err != nil {
		return err
	}
	out.KeepAlive(f.ping, func() error {
		return f.send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Keepalive{Keepalive: &processpb.ProcessEvent_KeepAlive{}}})
	})
	for ev, err := range watch {
		if err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		e, done, err := f.translate(ev)
		if err == nil && e != nil {
			err = out.Send(len(ev.Content), func() error { return f.send(e) })
		}
		if done || err != nil {
			return err
		}
	}
	return errGone
}

// translate returns the event for the client, or nil. done reports that it is the last one.
func (f *follower) translate(ev cellhold.Event) (e *processpb.ProcessEvent, done bool, err error) {
	switch ev.Type {
	case cellhold.EventStream:
		var c cellhold.StreamContent
		if ev.Decode(&c) == nil {
			return f.data(c), false, nil
		}
	case cellhold.EventOutputDropped:
		var c cellhold.OutputDroppedContent
		if ev.Decode(&c) == nil {
			return f.data(cellhold.StreamContent{Name: "stderr", Text: fmt.Sprintf("[%d bytes of output exceeded the limits and were dropped]\n", c.Bytes)}), false, nil
		}
	case cellhold.EventCommandDone:
		var c cellhold.CommandDoneContent
		if ev.Decode(&c) != nil || c.Status == cellhold.CommandLost && f.session.Record().State == cellhold.SessionEnded {
			return nil, true, errGone
		}
		if f.timed && c.Status == cellhold.CommandTimeout {
			return nil, true, errTimeout()
		}
		return &processpb.ProcessEvent{Event: &processpb.ProcessEvent_End{End: ending(c)}}, true, nil
	}
	return nil, false, nil
}

// data returns the event for a piece of output.
func (f *follower) data(c cellhold.StreamContent) *processpb.ProcessEvent {
	b := c.Data
	if b == nil {
		b = []byte(c.Text)
	}
	d := &processpb.ProcessEvent_DataEvent{}
	switch {
	case f.terminal:
		d.Output = &processpb.ProcessEvent_DataEvent_Pty{Pty: b}
	case c.Name == "stderr":
		d.Output = &processpb.ProcessEvent_DataEvent_Stderr{Stderr: b}
	default:
		d.Output = &processpb.ProcessEvent_DataEvent_Stdout{Stdout: b}
	}
	return &processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: d}}
}

// ending returns the end of a process. A process that a signal ended has the exit code -1.
func ending(c cellhold.CommandDoneContent) *processpb.ProcessEvent_EndEvent {
	end := &processpb.ProcessEvent_EndEvent{ExitCode: int32(c.Code), Exited: true, Status: fmt.Sprintf("exit status %d", c.Code)}
	switch c.Status {
	case cellhold.CommandOK:
		return end
	case cellhold.CommandExit:
		end.Error = proto.String(end.Status)
		if c.Cause != "" {
			end.Error = proto.String(valid(c.Cause))
		}
		return end
	}
	why := string(c.Status)
	if c.Signal != "" {
		why = "signal: " + c.Signal
	}
	if c.Cause != "" {
		why += ": " + c.Cause
	}
	return &processpb.ProcessEvent_EndEvent{ExitCode: -1, Status: why, Error: proto.String(valid(why))}
}
