package guest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"cellhold"
	"cellhold/internal/guestapi"
)

// Commands has the calls to the agent about commands.
type Commands struct{ client *Client }

// Commands returns the calls about commands.
func (c *Client) Commands() Commands { return Commands{c} }

func commandPath(id cellhold.CommandID) string {
	return "/v1/commands/" + url.PathEscape(string(id))
}

// Start starts a command. If the same command was started before, Start returns no error, and the command does not
// run again. If the program cannot be started, the command ends with an exit status, and Start returns no error. pid is
// the process id in the sandbox. It is 0 if no process runs, and if the agent is of an earlier version.
func (c Commands) Start(ctx context.Context, id cellhold.CommandID, r guestapi.StartCommand) (pid int, err error) {
	b, err := json.Marshal(r)
	if err != nil {
		return 0, about("start", id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.client.do(ctx, request{method: http.MethodPut, path: commandPath(id), body: bytes.NewReader(b)})
	if err != nil {
		return 0, about("start", id, err)
	}
	defer resp.Body.Close()
	var started guestapi.Started
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil || len(text) == 0 { // the command has started, whatever the answer says
		return 0, nil
	}
	if json.Unmarshal(text, &started) != nil || started.PID < 0 || started.PID > maxPID {
		return 0, about("start", id, invalidData("the process id of a command"))
	}
	return started.PID, nil
}

// maxPID is the highest process id of Linux.
const maxPID = 1 << 22

// Kill ends a command and its processes, and returns when it has ended. If the command has ended before,
// Kill returns no error.
func (c Commands) Kill(ctx context.Context, id cellhold.CommandID) error {
	return about("kill", id, c.client.call(ctx, request{method: http.MethodDelete, path: commandPath(id)}))
}

// Signal sends a signal to the command's process group.
func (c Commands) Signal(ctx context.Context, id cellhold.CommandID, number int) error {
	return about("signal", id, c.client.send(ctx, request{method: http.MethodPost, path: commandPath(id) + "/signal", once: true}, guestapi.Signal{Number: number}))
}

// Resize sets the size of the command's terminal.
func (c Commands) Resize(ctx context.Context, id cellhold.CommandID, t cellhold.Terminal) error {
	return about("resize", id, c.client.send(ctx, request{method: http.MethodPost, path: commandPath(id) + "/resize"}, t))
}

// Input passes on standard input that begins at offset. The agent skips bytes that it received before. A
// negative offset means the end of the received bytes. Input returns the number of bytes received since the
// start. The error is Exhausted if the command does not read its input. It is Conflict if the command has ended or
// its input is closed.
func (c Commands) Input(ctx context.Context, id cellhold.CommandID, b []byte, offset int64, eof bool) (taken int64, err error) {
	query := url.Values{"eof": {strconv.FormatBool(eof)}}
	if offset >= 0 {
		query.Set("offset", strconv.FormatInt(offset, 10))
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.client.do(ctx, request{method: http.MethodPost, path: commandPath(id) + "/stdin", query: query,
		body: bytes.NewReader(b), size: int64(len(b)), once: offset < 0})
	if err != nil {
		return 0, about("feed", id, err)
	}
	defer resp.Body.Close()
	var answer guestapi.Input
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		return 0, about("feed", id, cellhold.Wrap(cellhold.Unavailable, err, "The sandbox's answer ended early."))
	}
	if json.Unmarshal(text, &answer) != nil || answer.Offset < 0 || answer.Offset > maxCount {
		return 0, about("feed", id, invalidData("the amount of received input"))
	}
	return answer.Offset, nil
}

// Ack lets the agent forget the events up to seq, and the commands whose last event is among them.
func (c Commands) Ack(ctx context.Context, seq int64) error {
	return c.client.call(ctx, request{method: http.MethodPost, path: "/v1/commands/ack", query: number("seq", seq)})
}

// Events yields the events of all commands after a number, as Kernel.Events does for a kernel.
func (c Commands) Events(ctx context.Context, after int64) iter.Seq2[guestapi.Event, error] {
	return func(yield func(guestapi.Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // closes the connection
		if err := c.read(ctx, after, func(e guestapi.Event) bool { return yield(e, nil) }); err != nil {
			yield(guestapi.Event{}, fmt.Errorf("read events of commands: %w", err))
		}
	}
}

// read passes events to yield, until yield returns false. Then it returns nil.
func (c Commands) read(ctx context.Context, after int64, yield func(guestapi.Event) bool) error {
	resp, err := c.client.do(ctx, request{method: http.MethodGet, path: "/v1/commands/events", query: number("after", after)})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReaderSize(resp.Body, 64<<10) // the amount that the agent writes at once
	for {
		line, whole, err := readLine(lines, commandEvents.maxLine)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		e, err := commandEvents.parse(line, whole, after)
		if err != nil {
			return err
		}
		after = e.Seq
		if e.Type == "" {
			c.client.log.Debug("skipped an event of the guest", "event", e.Seq)
			continue
		}
		if !yield(e) {
			return nil
		}
	}
}

// maxCommandEvent bounds the line of one event: the largest piece of output, with six bytes of JSON for each byte, and
// the other fields.
const maxCommandEvent = 6*guestapi.MaxStream + guestapi.MaxHead

// commandEvents is the source of the events of commands.
var commandEvents = eventSource{maxLine: maxCommandEvent, names: namesCommand, note: commandNote,
	checks: map[cellhold.EventType]func(json.RawMessage) (json.RawMessage, error){
		cellhold.EventStream:        rewrite(checkCommandStream),
		cellhold.EventOutputDropped: rewrite(checkDropped),
		cellhold.EventCommandDone:   rewrite(checkCommandDone),
	}}

func namesCommand(e *guestapi.Event) bool {
	e.Cell = ""
	return cellPattern().MatchString(string(e.Command))
}

// commandNote counts an output as dropped, because a note must not look like output of the program. The end of a command
// stays an end, so that the command does not run for ever.
func commandNote(t cellhold.EventType, why string, size int) (cellhold.EventType, any) {
	if t == cellhold.EventCommandDone {
		return t, cellhold.CommandDoneContent{Status: cellhold.CommandLost, Cause: "The agent's report of the end was refused, because " + why + "."}
	}
	return cellhold.EventOutputDropped, cellhold.OutputDroppedContent{Bytes: int64(size), Messages: 1, Reason: "An output was left out, because " + why + "."}
}

func checkCommandStream(c *cellhold.StreamContent) error {
	if c.Name != "stdout" && c.Name != "stderr" || c.Text != "" && c.Data != nil {
		return errContent
	}
	if n := len(c.Text) + len(c.Data); n > guestapi.MaxStream {
		return tooMany("bytes", n, guestapi.MaxStream)
	}
	return nil
}

// checkCommandDone fails for the statuses oom and lost, because only the host can know them.
func checkCommandDone(c *cellhold.CommandDoneContent) error {
	const mostCode = 255
	switch c.Status {
	case cellhold.CommandOK, cellhold.CommandExit, cellhold.CommandSignal, cellhold.CommandTimeout:
	default:
		return errContent
	}
	number := 0
	if c.Signal != "" {
		if number = cellhold.SignalNumber(c.Signal); number == 0 {
			return errContent
		}
		c.Signal = cellhold.SignalName(number)
	}
	if c.Code < 0 || c.Code > mostCode || (c.Status == cellhold.CommandOK) != (c.Code == 0) && c.Status != cellhold.CommandTimeout {
		return errContent
	}
	c.Cause = sentence(c.Cause)
	return nil
}

func about(operation string, id cellhold.CommandID, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s command %s: %w", operation, id, err)
}
