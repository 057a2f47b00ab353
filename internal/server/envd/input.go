package envd

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"cellhold"
	"cellhold/internal/server/envd/processpb"
)

// inputPause is the longest pause in the input of a process. The clients send a sign of life more often.
const inputPause = 3 * time.Minute

// find returns the running command that a selector names.
func find(c *call, of *processpb.ProcessSelector) (cellhold.Command, error) {
	for _, x := range c.session.History().RunningCommands() {
		switch by := of.GetSelector().(type) {
		case *processpb.ProcessSelector_Pid:
			if x.PID > 0 && uint32(x.PID) == by.Pid {
				return x, nil
			}
		case *processpb.ProcessSelector_Tag:
			if x.Tag != "" && x.Tag == by.Tag {
				return x, nil
			}
		}
	}
	return cellhold.Command{}, cellhold.Errorf(cellhold.NotFound, "process with %.300s not found", valid(of.String()))
}

// list lists the running processes. Their variables are not stored.
func (s *Server) list(_ context.Context, c *call, _ *processpb.ListRequest) (*processpb.ListResponse, error) {
	out := &processpb.ListResponse{}
	for _, x := range c.session.History().RunningCommands() {
		p := &processpb.ProcessInfo{Pid: uint32(x.PID), Config: &processpb.ProcessConfig{Envs: map[string]string{}}}
		if len(x.Args) > 0 {
			p.Config.Cmd, p.Config.Args = x.Args[0], x.Args[1:]
		} else {
			p.Config.Cmd = x.Line
		}
		if x.Dir != "" {
			p.Config.Cwd = proto.String(x.Dir)
		}
		if x.Tag != "" {
			p.Tag = proto.String(x.Tag)
		}
		out.Processes = append(out.Processes, p)
	}
	return out, nil
}

// notFound replaces the error of a process that ended in the meantime. The clients expect that it is not found.
func notFound(err error) error {
	if cellhold.KindOf(err) == cellhold.Conflict {
		return cellhold.Wrap(cellhold.NotFound, err, "%s", err.Error())
	}
	return err
}

// feed sends input to a process.
func feed(ctx context.Context, c *call, x cellhold.Command, in *processpb.ProcessInput, eof bool) error {
	run, err := c.session.Commands(ctx, x.ID)
	if err != nil {
		return err
	}
	b := in.GetStdin()
	if in.GetPty() != nil {
		b = in.GetPty()
	}
	_, err = run.Input(ctx, x.ID, b, -1, eof)
	if run.Has(x.ID) { // otherwise a conflict means that its input is closed
		return err
	}
	return notFound(err)
}

func (s *Server) sendInput(ctx context.Context, c *call, in *processpb.SendInputRequest) (*processpb.SendInputResponse, error) {
	x, err := find(c, in.GetProcess())
	if err != nil {
		return nil, err
	}
	return &processpb.SendInputResponse{}, feed(ctx, c, x, in.GetInput(), false)
}

// endOfFile ends the input at a terminal.
var endOfFile = &processpb.ProcessInput{Input: &processpb.ProcessInput_Pty{Pty: []byte{4}}}

func (s *Server) closeStdin(ctx context.Context, c *call, in *processpb.CloseStdinRequest) (*processpb.CloseStdinResponse, error) {
	x, err := find(c, in.GetProcess())
	if err != nil {
		return nil, err
	}
	if x.Terminal != nil {
		return &processpb.CloseStdinResponse{}, feed(ctx, c, x, endOfFile, false)
	}
	return &processpb.CloseStdinResponse{}, feed(ctx, c, x, nil, true)
}

// streamInput sends the input of one process, piece by piece.
func (s *Server) streamInput(ctx context.Context, in *connect.ClientStream[processpb.StreamInputRequest]) (*processpb.StreamInputResponse, error) {
	c := callOf(ctx)
	if err := checkUser(c.user); err != nil {
		return nil, userError(err)
	}
	var x *cellhold.Command
	for in.Receive() {
		switch e := in.Msg().GetEvent().(type) {
		case *processpb.StreamInputRequest_Start:
			found, err := find(c, e.Start.GetProcess())
			if err != nil {
				return nil, s.outcome(ctx, c, err)
			}
			x = &found
		case *processpb.StreamInputRequest_Data:
			if x == nil {
				return nil, s.outcome(ctx, c, cellhold.Errorf(cellhold.Invalid, "The first message must name the process."))
			}
			if err := feed(ctx, c, *x, e.Data.GetInput(), false); err != nil {
				return nil, s.outcome(ctx, c, err)
			}
		}
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	return &processpb.StreamInputResponse{}, nil
}

func (s *Server) sendSignal(ctx context.Context, c *call, in *processpb.SendSignalRequest) (*processpb.SendSignalResponse, error) {
	x, err := find(c, in.GetProcess())
	if err != nil {
		return nil, err
	}
	run, err := c.session.Commands(ctx, x.ID)
	if err != nil {
		return nil, notFound(err)
	}
	switch in.GetSignal() {
	case processpb.Signal_SIGNAL_SIGTERM:
		err = run.Signal(ctx, x.ID, int(in.GetSignal()))
	case processpb.Signal_SIGNAL_SIGKILL: // with its children, and the end is recorded: the sandbox can be paused right after
		err = run.Kill(ctx, x.ID)
	default:
		err = cellhold.Errorf(cellhold.Invalid, "invalid signal: %.40s", in.GetSignal())
	}
	return &processpb.SendSignalResponse{}, notFound(err)
}

func (s *Server) update(ctx context.Context, c *call, in *processpb.UpdateRequest) (*processpb.UpdateResponse, error) {
	x, err := find(c, in.GetProcess())
	if err != nil || in.GetPty().GetSize() == nil {
		return &processpb.UpdateResponse{}, err
	}
	if x.Terminal == nil {
		return nil, cellhold.Errorf(cellhold.Conflict, "The process has no terminal: start it with one.")
	}
	run, err := c.session.Commands(ctx, x.ID)
	if err == nil {
		err = run.Resize(ctx, x.ID, terminalOf(in.GetPty().GetSize()))
	}
	return &processpb.UpdateResponse{}, notFound(err)
}
