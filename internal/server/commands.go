package server

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/command"
	"cellhold/internal/server/door"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// StartCommand is the body that starts a command.
type StartCommand struct {
	_        struct{}           `additionalProperties:"false" json:"-"`
	Command  string             `json:"command,omitempty" doc:"One line for a shell: bash, or sh in images without bash. Either this or args." example:"ls -l | wc -l"`
	Args     []string           `json:"args,omitempty" doc:"A program and its arguments, run without a shell. Either this or command."`
	Env      map[string]string  `json:"env,omitempty" doc:"Variables to add to the environment. They are neither recorded nor given back."`
	Dir      string             `json:"cwd,omitempty" doc:"Where to start it: an absolute path, or one below /workspace, which it is when absent." example:"/tmp"`
	Timeout  float64            `json:"timeout,omitempty" minimum:"0" maximum:"31536000" doc:"Seconds that it may run; the server's default when absent or 0, and the longest that the server allows for one with a terminal." example:"30"`
	Terminal *cellhold.Terminal `json:"tty,omitempty" doc:"Give it a terminal of this size. Its output then is one stream, stdout."`
}

type startInput struct {
	SessionPath
	Wait string `query:"wait" doc:"How long to wait for it to be done: \"30s\", \"2m\" or plain seconds, 10 minutes at most. Without it the answer comes when it has started." example:"30s"`
	Body StartCommand
}

type startOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the command is."`
	Body     cellhold.Command
}

// CommandPath is the part of the input that all routes of a command share.
type CommandPath struct {
	SessionPath
	Command cellhold.CommandID `path:"command" doc:"Identifies the command." example:"x7kq2w9d4hx5n3vtb"`
}

type commandInput struct {
	CommandPath
	Wait string `query:"wait" doc:"How long to wait for it to be done: \"30s\", \"2m\" or plain seconds, 10 minutes at most. The answer comes earlier when it is done earlier." example:"30s"`
}

type commandOutput struct {
	Status int
	Body   cellhold.Command
}

// CommandList is the body that lists commands.
type CommandList struct {
	Commands []cellhold.Command `json:"commands" doc:"The session's commands, oldest first."`
}

type commandEventsInput struct {
	CommandPath
	EventsQuery
}

type stdinInput struct {
	CommandPath
	Offset  int64  `query:"offset" minimum:"-1" default:"-1" doc:"Which byte of the whole input the body begins with. Bytes that were taken before are passed over, so that a request can be repeated. Without it the body follows what was taken."`
	EOF     bool   `query:"eof" doc:"Nothing follows: the standard input is closed after the body. At a terminal, Ctrl-D is typed."`
	RawBody []byte `contentType:"application/octet-stream"`
}

// InputTaken is the body that answers to standard input.
type InputTaken struct {
	Offset int64 `json:"offset" doc:"How many bytes of input were taken since the command began."`
}

type stdinOutput struct {
	Body InputTaken
}

// SendSignal is the body that asks for a signal.
type SendSignal struct {
	_      struct{} `additionalProperties:"false" json:"-"`
	Signal string   `json:"signal" maxLength:"20" doc:"Its name, with or without SIG, or its number." example:"TERM"`
}

type signalInput struct {
	CommandPath
	Body SendSignal
}

type resizeInput struct {
	CommandPath
	Body cellhold.Terminal
}

const commandsPath = "/v1/sessions/{id}/commands"

func (s *Server) commandRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "start-command", Method: http.MethodPost, Path: commandsPath, DefaultStatus: http.StatusAccepted, Tags: []string{tagCommands},
		Summary:     "Run a command",
		Description: "Starts a program in the session's sandbox, beside its kernel. Without wait the answer is 202 with the running command. With wait it is 200 with the command when it is done. When the wait is over before, it is 202 with the command as it is then, and wait_over is true; the command goes on running, also when you hang up. A command that fails is no error of this API: it has an exit_code. Its standard input is open until you close it.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The command, which is done",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, cellhold.Command{})}},
		}},
	}, s.startCommand)
	register(api, huma.Operation{
		OperationID: "list-commands", Method: http.MethodGet, Path: commandsPath, Tags: []string{tagCommands},
		Summary: "List the commands of a session",
		Responses: map[string]*huma.Response{"200": {
			Description: "The commands, oldest first",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, CommandList{})}},
		}},
	}, s.listCommands)
	register(api, huma.Operation{
		OperationID: "get-command", Method: http.MethodGet, Path: commandsPath + "/{command}", Tags: []string{tagCommands},
		Summary:     "Look at a command, or wait for it",
		Description: "With wait, the answer comes when the command is done or the wait is over. In the second case its status is 202, and wait_over is true. It has the first and the last 64 KiB of each stream, and says how many bytes there were; all of them are in the events.",
		Responses: map[string]*huma.Response{"202": {
			Description: "The command as it is when the wait is over: it is not done",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, cellhold.Command{})}},
		}},
	}, s.getCommand)
	register(api, huma.Operation{
		OperationID: "read-command-events", Method: http.MethodGet, Path: commandsPath + "/{command}/events", Tags: []string{tagCommands},
		Summary:     "Read a command's events after N",
		Description: "The session's events that belong to this command, with the session's numbers, in the same two ways as those of the session. A stream ends after command_done. What the command wrote is in the events of type stream: in text where it is UTF-8, and in data, in base64, where it is not.",
		Responses:   eventResponses(api),
	}, s.commandEvents)
	register(api, huma.Operation{
		OperationID: "write-command-input", Method: http.MethodPost, Path: commandsPath + "/{command}/stdin", Tags: []string{tagCommands},
		Summary:     "Write to a command's standard input",
		Description: "The bytes of the body are queued for the command in the order of the requests. When it does not read for 15 s and the queue is full, the answer is 429: send the same body with the same offset again. When it has closed its input or ended, the answer is 409.",
	}, s.writeInput)
	api.OpenAPI().Paths[commandsPath+"/{command}/stdin"].Post.RequestBody.Required = false // the end may come alone
	register(api, huma.Operation{
		OperationID: "signal-command", Method: http.MethodPost, Path: commandsPath + "/{command}/signal", DefaultStatus: http.StatusNoContent, Tags: []string{tagCommands},
		Summary:     "Send a signal to a command",
		Description: "It goes to the command's process group, and to what is in the foreground of its terminal.",
	}, s.signalCommand)
	register(api, huma.Operation{
		OperationID: "resize-command", Method: http.MethodPost, Path: commandsPath + "/{command}/resize", DefaultStatus: http.StatusNoContent, Tags: []string{tagCommands},
		Summary: "Resize a command's terminal",
	}, s.resizeCommand)
	register(api, huma.Operation{
		OperationID: "end-command", Method: http.MethodDelete, Path: commandsPath + "/{command}", DefaultStatus: http.StatusNoContent, Tags: []string{tagCommands},
		Summary:     "End a command",
		Description: "Kills it with everything that it started, and answers when it is done. Its record stays. One that is done is left as it is.",
	}, s.endCommand)
}

func (s *Server) startCommand(ctx context.Context, in *startInput) (*startOutput, error) {
	wait, err := parseWait(in.Wait)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	b := in.Body
	c, err := sess.StartCommand(ctx, attachment.CommandRequest{Line: b.Command, Args: b.Args, Env: b.Env, Dir: b.Dir,
		Timeout: seconds(b.Timeout), Terminal: b.Terminal})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	status := http.StatusAccepted
	if wait > 0 {
		if c, err = await(ctx, s, sess, c.ID, wait, commands); err != nil {
			return nil, s.problem(ctx, err)
		}
		status = waitStatus(c.State == cellhold.CommandDone, &c.WaitOver)
	}
	return &startOutput{Status: status, Location: "/v1/sessions/" + string(in.ID) + "/commands/" + string(c.ID), Body: c}, nil
}

func (s *Server) getCommand(ctx context.Context, in *commandInput) (*commandOutput, error) {
	c, err := look(ctx, s, in.SessionPath, in.Wait, in.Command, commands)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	status := http.StatusOK
	if in.Wait != "" {
		status = waitStatus(c.State == cellhold.CommandDone, &c.WaitOver)
	}
	return &commandOutput{Status: status, Body: c}, nil
}

func (s *Server) listCommands(ctx context.Context, in *SessionPath) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		s.writeCommands(w, r, sess)
	}}, nil
}

// writeCommands writes a CommandList one command after the other, as writeCells does for cells.
func (s *Server) writeCommands(w http.ResponseWriter, r *http.Request, sess *session.Session) {
	const first = `{"commands":[`
	open := first
	for c, err := range sess.History().Commands(r.Context()) {
		var text []byte
		if err == nil {
			text, err = json.Marshal(c)
		}
		if err != nil {
			s.failStream(w, r, err, open == first)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write(append([]byte(open), text...)); err != nil {
			return // the reader has gone
		}
		open = ","
	}
	end := "]}\n"
	if open == first {
		w.Header().Set("Content-Type", "application/json")
		end = open + end
	}
	_, _ = w.Write([]byte(end))
}

func (s *Server) commandEvents(ctx context.Context, in *commandEventsInput) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	if _, err := sess.History().Command(ctx, in.Command); err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.readEvents(ctx, in.EventsQuery, eventSource{
		watch: func(ctx context.Context, after int64) iter.Seq2[cellhold.Event, error] {
			watch, err := sess.History().WatchCommand(ctx, in.Command, after)
			if err != nil {
				return func(yield func(cellhold.Event, error) bool) { yield(cellhold.Event{}, err) }
			}
			return watch
		},
		page: func(ctx context.Context, after int64, limit int) ([]cellhold.Event, error) {
			return sess.History().CommandEvents(ctx, in.Command, after, limit)
		},
		over: func() bool {
			c, err := sess.History().Command(ctx, in.Command)
			return err == nil && c.State == cellhold.CommandDone
		},
	})
}

func (s *Server) writeInput(ctx context.Context, in *stdinInput) (*stdinOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	run, err := sess.Commands(ctx, in.Command)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	taken, err := run.Input(ctx, in.Command, in.RawBody, in.Offset, in.EOF)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &stdinOutput{Body: InputTaken{Offset: taken}}, nil
}

func (s *Server) signalCommand(ctx context.Context, in *signalInput) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	number := cellhold.SignalNumber(in.Body.Signal)
	if number == 0 {
		return nil, s.problem(ctx, cellhold.Errorf(cellhold.Invalid, "Unknown signal %.20q: use a name such as INT, TERM, KILL or HUP, or a number.", in.Body.Signal))
	}
	run, err := sess.Commands(ctx, in.Command)
	if err == nil {
		err = run.Signal(ctx, in.Command, number)
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}

func (s *Server) resizeCommand(ctx context.Context, in *resizeInput) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	run, err := sess.Commands(ctx, in.Command)
	if err == nil {
		err = run.Resize(ctx, in.Command, in.Body)
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}

func (s *Server) endCommand(ctx context.Context, in *CommandPath) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := door.Act(ctx)
	defer cancel()
	c, err := sess.History().Command(acting, in.Command)
	if err == nil && c.State == cellhold.CommandRunning {
		var run *command.Runner
		if run, err = sess.Commands(acting, in.Command); err == nil {
			err = run.Kill(acting, in.Command)
		}
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}
