package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"cellhold"
)

// inputPiece is the maximum number of bytes in one request of Feed. It is large, so a file needs few requests. It
// is small enough that the next keystroke waits only a short time for the request before it.
const inputPiece = 256 << 10

// Run describes a command to start: a shell line, or a program with its arguments.
type Run struct {
	Line     string
	Args     []string
	Env      map[string]string
	Dir      string             // empty means /workspace
	Timeout  time.Duration      // 0 means the server's default
	Terminal *cellhold.Terminal // nil means none
	Tag      string             // label of the caller
	NoInput  bool               // the standard input is closed from the start
}

func commandPath(id cellhold.SessionID, command cellhold.CommandID, parts ...string) string {
	return sessionPath(id, append([]string{"commands", string(command)}, parts...)...)
}

// StartCommand starts a command and returns at once.
func (c *Client) StartCommand(ctx context.Context, id cellhold.SessionID, r Run) (cellhold.Command, error) {
	body := struct {
		Command  string             `json:"command,omitempty"`
		Args     []string           `json:"args,omitempty"`
		Env      map[string]string  `json:"env,omitempty"`
		Dir      string             `json:"cwd,omitempty"`
		Timeout  float64            `json:"timeout,omitempty"`
		Terminal *cellhold.Terminal `json:"tty,omitempty"`
		Tag      string             `json:"tag,omitempty"`
		NoInput  bool               `json:"no_input,omitempty"`
	}{r.Line, r.Args, r.Env, r.Dir, r.Timeout.Seconds(), r.Terminal, r.Tag, r.NoInput}
	var command cellhold.Command
	err := c.call(ctx, http.MethodPost, sessionPath(id, "commands"), body, &command)
	return command, err
}

// RunCommand runs a command without input and returns it when it is done. If ctx ends first, the command
// continues. A connection that breaks after the command started is not an error.
func (c *Client) RunCommand(ctx context.Context, id cellhold.SessionID, r Run) (cellhold.Command, error) {
	r.NoInput = true
	command, err := c.StartCommand(ctx, id, r)
	if err != nil {
		return command, err
	}
	return c.WaitCommand(ctx, id, command.ID)
}

// Command returns a command as it is now, with the beginning and the end of its output.
func (c *Client) Command(ctx context.Context, id cellhold.SessionID, command cellhold.CommandID) (cellhold.Command, error) {
	var out cellhold.Command
	err := c.call(ctx, http.MethodGet, commandPath(id, command), nil, &out)
	return out, err
}

// Commands returns the session's commands, oldest first.
func (c *Client) Commands(ctx context.Context, id cellhold.SessionID) ([]cellhold.Command, error) {
	var list struct {
		Commands []cellhold.Command `json:"commands"`
	}
	err := c.call(ctx, http.MethodGet, sessionPath(id, "commands"), nil, &list)
	return list.Commands, err
}

// WaitCommand returns a command when it is done.
func (c *Client) WaitCommand(ctx context.Context, id cellhold.SessionID, command cellhold.CommandID) (cellhold.Command, error) {
	path := commandPath(id, command) + "?wait=" + pollTime
	var out cellhold.Command
	for out.State != cellhold.CommandDone {
		err := c.retry(ctx, func(func()) error {
			out = cellhold.Command{}
			return c.call(ctx, http.MethodGet, path, nil, &out)
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// WatchCommand yields the events of one command with numbers above after, live, until the command is done.
// When a connection breaks, it continues like Watch.
func (c *Client) WatchCommand(ctx context.Context, id cellhold.SessionID, command cellhold.CommandID, after int64) iter.Seq2[cellhold.Event, error] {
	return c.watch(ctx, commandPath(id, command, "events"), after, cellhold.EventCommandDone)
}

// WriteCommand writes to the standard input of a command, and closes it if eof is set. offset is the position
// of b in the whole input. The server skips bytes that it accepted before. A negative offset means after the
// last accepted byte. WriteCommand returns the number of bytes that the server accepted since the command
// started. The error is Exhausted if the command does not read: write the same bytes again. It is Conflict if
// the command closed its input or is done.
func (c *Client) WriteCommand(ctx context.Context, id cellhold.SessionID, command cellhold.CommandID, b []byte, offset int64, eof bool) (int64, error) {
	query := url.Values{"offset": {strconv.FormatInt(offset, 10)}, "eof": {strconv.FormatBool(eof)}}
	res, err := c.send(ctx, http.MethodPost, commandPath(id, command, "stdin")+"?"+query.Encode(), bytes.NewReader(b),
		http.Header{"Content-Type": {"application/octet-stream"}})
	if err != nil {
		return 0, err
	}
	defer drain(res.Body)
	var answer struct {
		Offset int64 `json:"offset"`
	}
	return answer.Offset, decodeAnswer(ctx, c.base, res, &answer)
}

// Feed copies a reader to the standard input of a command, after the input so far. Then it closes the input.
// Every byte arrives once, even if connections break or the server restarts. Feed returns nil if the command
// closed its input or is done.
func (c *Client) Feed(ctx context.Context, id cellhold.SessionID, command cellhold.CommandID, r io.Reader) error {
	offset, err := c.WriteCommand(ctx, id, command, nil, -1, false)
	if err != nil && cellhold.KindOf(err) == cellhold.Conflict {
		return nil
	}
	if err != nil {
		return err
	}
	for buf := make([]byte, inputPiece); ; {
		n, err := r.Read(buf)
		eof := errors.Is(err, io.EOF)
		if err != nil && !eof {
			return err
		}
		err = c.retry(ctx, func(alive func()) error {
			for {
				_, err := c.WriteCommand(ctx, id, command, buf[:n], offset, eof)
				if cellhold.KindOf(err) != cellhold.Exhausted || err == nil || ctx.Err() != nil {
					return err
				}
				alive() // the command does not read yet
			}
		})
		if err != nil && cellhold.KindOf(err) == cellhold.Conflict {
			return nil
		}
		if err != nil || eof {
			return err
		}
		offset += int64(n)
	}
}

// SignalCommand sends a signal to the process group of a command. signal is a name or a number.
func (c *Client) SignalCommand(ctx context.Context, id cellhold.SessionID, command cellhold.CommandID, signal string) error {
	return c.call(ctx, http.MethodPost, commandPath(id, command, "signal"), map[string]string{"signal": signal}, nil)
}

// ResizeCommand sets the size of a command's terminal.
func (c *Client) ResizeCommand(ctx context.Context, id cellhold.SessionID, command cellhold.CommandID, t cellhold.Terminal) error {
	return c.call(ctx, http.MethodPost, commandPath(id, command, "resize"), t, nil)
}

// EndCommand kills a command and all processes that it started, and returns when it is done.
func (c *Client) EndCommand(ctx context.Context, id cellhold.SessionID, command cellhold.CommandID) error {
	return c.call(ctx, http.MethodDelete, commandPath(id, command), nil, nil)
}
