package server

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/command"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// StartCommand is the body of a request to start a command.
type StartCommand struct {
	_        struct{}           `additionalProperties:"false" json:"-"`
	Command  string             `json:"command,omitempty" doc:"Line for a shell: bash, or sh in images without bash. Send either command or args." example:"ls -l | wc -l"`
	Args     []string           `json:"args,omitempty" doc:"Program and arguments, run without a shell. Send either command or args."`
	Env      map[string]string  `json:"env,omitempty" doc:"Variables to add to the environment. The server does not store or return them."`
	Dir      string             `json:"cwd,omitempty" doc:"Working directory: an absolute path, or a path relative to the session's directory. Absent means that directory." example:"/tmp"`
	Tag      string             `json:"tag,omitempty" maxLength:"256" doc:"Your label of the command." example:"web-server"`
	NoInput  bool               `json:"no_input,omitempty" doc:"If true, the standard input ends at once."`
	Timeout  float64            `json:"timeout,omitempty" minimum:"0" maximum:"31536000" doc:"Maximum run time in seconds. Absent or 0 means the server's default, or with a terminal the server's maximum." example:"30"`
	Terminal *cellhold.Terminal `json:"tty,omitempty" doc:"Size of a terminal for the command. With a terminal, all output is in stdout."`
}

type startInput struct {
	SessionPath
	Wait string `query:"wait" doc:"Maximum time to wait until the command is done: \"30s\", \"2m\" or seconds, at most 10 minutes. Without wait the answer comes when the command has started." example:"30s"`
	Body StartCommand
}

type startOutput struct {
	Status   int
	Location string `header:"Location" doc:"URL path of the command."`
	Body     cellhold.Command
}

// CommandPath is the input of all routes of a command.
type CommandPath struct {
	SessionPath
	Command cellhold.CommandID `path:"command" doc:"Command id." example:"x7kq2w9d4hx5n3vtb"`
}

type commandInput struct {
	CommandPath
	Wait string `query:"wait" doc:"Maximum time to wait until the command is done: \"30s\", \"2m\" or seconds, at most 10 minutes." example:"30s"`
}

type commandOutput struct {
	Status int
	Body   cellhold.Command
}

// CommandList is the body that lists commands.
type CommandList struct {
	Commands []cellhold.Command `json:"commands" doc:"Commands of the session, oldest first."`
}

type commandEventsInput struct {
	CommandPath
	EventsQuery
}

type stdinInput struct {
	CommandPath
	Offset  int64  `query:"offset" minimum:"-1" default:"-1" doc:"Position of the body's first byte in the whole input. Bytes that the server accepted before are skipped, so you can retry a request. Absent means after the last accepted byte."`
	EOF     bool   `query:"eof" doc:"If true, close the standard input after the body. At a terminal, send Ctrl-D."`
	RawBody []byte `contentType:"application/octet-stream"`
}

// InputTaken is the body of an answer to standard input.
type InputTaken struct {
	Offset int64 `json:"offset" doc:"Number of input bytes that the server accepted since the command started."`
}

type stdinOutput struct {
	Body InputTaken
}

// SendSignal is the body of a request to send a signal.
type SendSignal struct {
	_      struct{} `additionalProperties:"false" json:"-"`
	Signal string   `json:"signal" maxLength:"20" doc:"Name of the signal, with or without SIG, or its number." example:"TERM"`
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
		Description: "Starts a program in the session's sandbox, outside the kernels. Without wait, the answer is 202 with the running command. With wait, the answer is 200 when the command is done. If the wait ends first, the answer is 202 with the unfinished command, and wait_over is true. The command continues, even if you close the connection. A failing command is not an API error: exit_code has its exit status. The standard input stays open until you close it.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The command is done",
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
		Summary:     "Get a command, or wait for it",
		Description: "With wait, the answer comes when the command is done or the wait ends. If the wait ends first, the answer is 202, and wait_over is true. The answer has the first and the last 64 KiB of each stream, and the number of bytes. The events have all output.",
		Responses: map[string]*huma.Response{"202": {
			Description: "The wait ended before the command was done",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, cellhold.Command{})}},
		}},
	}, s.getCommand)
	register(api, huma.Operation{
		OperationID: "read-command-events", Method: http.MethodGet, Path: commandsPath + "/{command}/events", Tags: []string{tagCommands},
		Summary:     "Read a command's events after N",
		Description: "Returns the events of this command, with the numbers of the session, as a page or a stream like read-events. A stream ends after command_done. Events of type stream have the output: in text if it is UTF-8, otherwise in data, in base64.",
		Responses:   eventResponses(api),
	}, s.commandEvents)
	register(api, huma.Operation{
		OperationID: "write-command-input", Method: http.MethodPost, Path: commandsPath + "/{command}/stdin", Tags: []string{tagCommands},
		Summary:     "Write to a command's standard input",
		Description: "Queues the body for the command, in the order of the requests. If the queue is full and the command does not read for 15 s, the answer is 429: send the same body with the same offset again. If the command closed its input or ended, the answer is 409.",
	}, s.writeInput)
	api.OpenAPI().Paths[commandsPath+"/{command}/stdin"].Post.RequestBody.Required = false // eof needs no body
	register(api, huma.Operation{
		OperationID: "signal-command", Method: http.MethodPost, Path: commandsPath + "/{command}/signal", DefaultStatus: http.StatusNoContent, Tags: []string{tagCommands},
		Summary:     "Send a signal to a command",
		Description: "Sends the signal to the command's process group, and to the foreground process group of its terminal.",
	}, s.signalCommand)
	register(api, huma.Operation{
		OperationID: "resize-command", Method: http.MethodPost, Path: commandsPath + "/{command}/resize", DefaultStatus: http.StatusNoContent, Tags: []string{tagCommands},
		Summary: "Resize a command's terminal",
	}, s.resizeCommand)
	register(api, huma.Operation{
		OperationID: "end-command", Method: http.MethodDelete, Path: commandsPath + "/{command}", DefaultStatus: http.StatusNoContent, Tags: []string{tagCommands},
		Summary:     "End a command",
		Description: "Kills the command and all processes that it started. The answer comes when they have ended. The command can still be read. If the command is done, the request does nothing.",
	}, s.endCommand)
}

func (s *Server) startCommand(ctx context.Context, in *startInput) (*startOutput, error) {
	wait, err := exchange.ParseWait(in.Wait)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	b := in.Body
	c, err := sess.StartCommand(ctx, attachment.CommandRequest{Line: b.Command, Args: b.Args, Env: b.Env, Dir: b.Dir, Tag: b.Tag, NoInput: b.NoInput,
		Timeout: seconds(b.Timeout), Terminal: b.Terminal})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	status := http.StatusAccepted
	if wait > 0 {
		if c, err = s.await(ctx, sess, c.ID, wait); err != nil {
			return nil, s.problem(ctx, err)
		}
		status = waitStatus(c.State == cellhold.CommandDone, &c.WaitOver)
	}
	return &startOutput{Status: status, Location: "/v1/sessions/" + string(in.ID) + "/commands/" + string(c.ID), Body: c}, nil
}

func (s *Server) getCommand(ctx context.Context, in *commandInput) (*commandOutput, error) {
	c, err := s.readOrWait(ctx, in.CommandPath, in.Wait)
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

// writeCommands writes a CommandList.
func (s *Server) writeCommands(w http.ResponseWriter, r *http.Request, sess *session.Session) {
	out := newListWriter(w, `{"commands":[`)
	defer out.end()
	for c, err := range sess.History().Commands(r.Context()) {
		if err != nil {
			s.failStream(w, r, err, out.empty())
			return
		}
		out.item(func(w io.Writer) error {
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			return enc.Encode(c)
		})
	}
	out.finish("]}")
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
		page: func(ctx context.Context, after int64, limit int) iter.Seq2[cellhold.Event, error] {
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
	acting, cancel := exchange.Act(ctx)
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
