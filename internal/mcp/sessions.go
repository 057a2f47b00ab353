package mcp

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"cellhold"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Session is the argument of tools that use a session.
type Session struct {
	ID string `json:"session_id,omitempty" jsonschema:"omit it for the default session"`
}

// session returns the session of a call. note is a sentence for the result, or "".
func (c call) session(ctx context.Context, given string) (id cellhold.SessionID, note string, err error) {
	if given != "" {
		if err := checkID('s', given); err != nil {
			return "", "", err
		}
		return cellhold.SessionID(given), "", nil
	}
	id, note, err = c.defaultSession(ctx, c.caller)
	*c.told = note
	return id, note, err
}

// checkID refuses an id that does not have the form of ids: a letter and 16 letters or digits. It becomes part of a URL.
func checkID(kind byte, id string) error {
	const size = 17
	odd := func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') }
	if len(id) == size && id[0] == kind && !strings.ContainsFunc(id, odd) {
		return nil
	}
	what := map[byte]string{'s': "Session", 'c': "Cell", 'x': "Command"}[kind]
	return cellhold.Errorf(cellhold.NotFound, "%s %.40q not found.", what, id)
}

// noted puts the note of a session before a text.
func noted(note, text string) string {
	if note == "" {
		return text
	}
	return note + "\n" + text
}

// CreateSession is the argument of create_session.
type CreateSession struct {
	Template string `json:"template,omitempty" jsonschema:"template of the server; omit it for the default"`
}

func (c call) createSession(ctx context.Context, in CreateSession) (*sdk.CallToolResult, error) {
	created, err := c.create(ctx, c.caller, in.Template, "")
	if err != nil {
		return nil, err
	}
	return say("Session %s is ready. Pass session_id %q to use it.", created.ID, created.ID), nil
}

// maxListed is the maximum number of sessions in a list.
const maxListed = 50

func (c call) listSessions(ctx context.Context, _ struct{}) (*sdk.CallToolResult, error) {
	all, err := c.caller.Client.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	var lines []string
	for i, s := range all {
		if i == maxListed {
			lines = append(lines, fmt.Sprintf("… and %d older sessions", len(all)-i))
			break
		}
		lines = append(lines, c.describe(ctx, s))
	}
	if len(lines) == 0 {
		return say("There are no sessions. The first call of run_code creates one."), nil
	}
	return say("%s", strings.Join(lines, "\n")), nil
}

// describe returns one line about a session.
func (c call) describe(ctx context.Context, s cellhold.Session) string {
	line := fmt.Sprintf("%s  %s", s.ID, s.State)
	if s.Meta[labelKey] == cmp.Or(c.caller.Session, defaultLabel) && s.Parent == "" && s.State != cellhold.SessionEnded {
		line += "  default session"
	}
	for _, k := range s.Kernels {
		line += fmt.Sprintf("  %s %s", shown(string(k.ID)), k.State)
	}
	if s.Parent != "" {
		line += fmt.Sprintf("  fork of %s", s.Parent)
	}
	line += "  used " + s.Used.UTC().Format(time.DateTime)
	if s.State == cellhold.SessionEnded {
		return line
	}
	if points, err := c.caller.Client.Checkpoints(ctx, s.ID); err == nil && len(points) > 0 {
		names := make([]string, len(points))
		for i, p := range points {
			names[i] = p.Name
		}
		line += "  checkpoints: " + strings.Join(names, ", ")
	}
	return line
}

// EndSession is the argument of end_session.
type EndSession struct {
	ID string `json:"session_id"`
}

func (c call) endSession(ctx context.Context, in EndSession) (*sdk.CallToolResult, error) {
	if in.ID == "" {
		return nil, cellhold.Errorf(cellhold.Invalid, "Give session_id: no session ends by default.")
	}
	if err := checkID('s', in.ID); err != nil {
		return nil, err
	}
	if err := c.caller.Client.DeleteSession(ctx, cellhold.SessionID(in.ID)); err != nil {
		return nil, err
	}
	return say("Session %s has ended. Its variables and files are deleted.", in.ID), nil
}

func (c call) forkSession(ctx context.Context, in Session) (*sdk.CallToolResult, error) {
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	forks, err := c.caller.Client.Fork(ctx, id, 1, "")
	if err != nil {
		return nil, err
	}
	if len(forks) != 1 {
		return nil, cellhold.Errorf(cellhold.Internal, "The server made %d forks instead of one.", len(forks))
	}
	return say("%s", noted(note, fmt.Sprintf("Session %s is a copy of %s. Pass session_id %q to use the copy.", forks[0].ID, id, forks[0].ID))), nil
}

// Checkpoint is the argument of checkpoint.
type Checkpoint struct {
	Name string `json:"name,omitempty" jsonschema:"letters, digits, dots and dashes; omit it for a name with the time"`
	ID   string `json:"session_id,omitempty"`
}

func (c call) checkpoint(ctx context.Context, in Checkpoint) (*sdk.CallToolResult, error) {
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	name := cmp.Or(in.Name, time.Now().UTC().Format("at-20060102-150405.000"))
	made, err := c.caller.Client.Checkpoint(ctx, id, name)
	if err != nil {
		return nil, err
	}
	return say("%s", noted(note, fmt.Sprintf("Checkpoint %q of session %s is made. rollback restores it.", made.Name, id))), nil
}

// Rollback is the argument of rollback.
type Rollback struct {
	Checkpoint string `json:"checkpoint" jsonschema:"name of the checkpoint"`
	ID         string `json:"session_id,omitempty"`
}

func (c call) rollback(ctx context.Context, in Rollback) (*sdk.CallToolResult, error) {
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if _, err := c.caller.Client.Rollback(ctx, id, in.Checkpoint); err != nil {
		return nil, err
	}
	return say("%s", noted(note, fmt.Sprintf("Session %s is as it was at checkpoint %q.", id, in.Checkpoint))), nil
}

func (c call) interrupt(ctx context.Context, in Session) (*sdk.CallToolResult, error) {
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	kernels, err := c.caller.Client.Kernels(ctx, id)
	if err != nil {
		return nil, err
	}
	n := 0
	for _, k := range kernels {
		if k.State != cellhold.KernelBusy {
			continue
		}
		if err := c.caller.Client.Interrupt(ctx, id, k.ID); err != nil {
			return nil, err
		}
		n++
	}
	if n == 0 {
		return say("%s", noted(note, fmt.Sprintf("No code runs in session %s.", id))), nil
	}
	return say("The code in session %s was interrupted. Variables survive.", id), nil
}

func (c call) restart(ctx context.Context, in Session) (*sdk.CallToolResult, error) {
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	kernels, err := c.caller.Client.Kernels(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, k := range kernels {
		if _, err := c.caller.Client.Restart(ctx, id, k.ID); err != nil {
			return nil, err
		}
	}
	return say("%s", noted(note, fmt.Sprintf("The kernels of session %s were restarted. Variables are lost; files and packages stay.", id))), nil
}
