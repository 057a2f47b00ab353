package contender

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"cellhold"
	"cellhold/client"
)

// Cellhold is a server of cellhold with its own home. It uses the images of another home through a symbolic link.
type Cellhold struct {
	*client.Client
	Pid  int // of the server
	url  string
	warm int
	auth http.Header
	home string
	*process
}

// CellholdOptions are the options of a server. All except Warm and Cold are required.
type CellholdOptions struct {
	Program string // path of the binary
	Images  string // folder with the images of another home
	Temp    string // folder for the home; short, because sockets are below it
	Warm    int    // sandboxes to keep ready
	Cold    bool   // no templates
}

// StartCellhold starts a server and returns when it is ready.
func StartCellhold(o CellholdOptions) (*Cellhold, error) {
	flags, err := startFlags(o)
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp(o.Temp, "h")
	if err == nil {
		// Sandboxes run under other uids, and must reach the images through the home.
		err = errors.Join(os.Chmod(home, 0o711), os.Symlink(o.Images, filepath.Join(home, "images")))
	}
	if err != nil {
		return nil, err
	}
	c := &Cellhold{home: home, warm: o.Warm}
	args := append([]string{"--home", home, "--log-level", "warn", "serve", "--listen", "127.0.0.1:0", "--ephemeral"}, flags...)
	if c.process, err = start("", nil, o.Program, args...); err != nil {
		return nil, errors.Join(err, os.RemoveAll(home))
	}
	c.Pid = c.process.cmd.Process.Pid
	if err := c.readGreeting(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// startFlags returns the server's flags. A session can use all cores, like the other contenders.
func startFlags(o CellholdOptions) ([]string, error) {
	flags := []string{"--cpu", strconv.Itoa(runtime.NumCPU()), "--max-sessions", "200", "--max-creates-per-minute", "100000", "--idle-timeout", "2h", "--cell-timeout", "20m"}
	if o.Cold {
		if hasFlag(o.Program, "--no-templates") {
			flags = append(flags, "--no-templates")
		}
		return flags, nil // a version without templates starts all sessions cold
	}
	if !hasFlag(o.Program, "--warm") {
		return nil, fmt.Errorf("serve --warm: %w", errUnknown)
	}
	if hasFlag(o.Program, "--warm-max") {
		flags = append(flags, "--warm-max", "0") // the number must not depend on the figures measured before
	}
	return append(flags, "--warm", strconv.Itoa(o.Warm)), nil
}

// hasFlag reports whether the server has a flag.
func hasFlag(program, flag string) bool {
	help, err := exec.Command(program, "serve", "--help").Output()
	return err == nil && strings.Contains(string(help), flag)
}

// readGreeting reads the server's URL and token from its output.
func (c *Cellhold) readGreeting() error {
	var url, token string
	lines := bufio.NewScanner(c.out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Stop it with") {
		switch word := strings.Fields(lines.Text()); {
		case len(word) > 1 && word[0] == "URL":
			url = word[1]
		case len(word) > 1 && word[0] == "Token":
			token = word[1]
		}
	}
	if url == "" || token == "" {
		return c.endedError("cellhold serve")
	}
	go func() { _, _ = io.Copy(io.Discard, c.out) }() // ends with the process
	c.url, c.auth = url, http.Header{"Authorization": {"Bearer " + token}}
	var err error
	c.Client, err = client.New(client.Options{URL: url, Token: token})
	return err
}

// Open creates a session.
func (c *Cellhold) Open(ctx context.Context) (Session, error) { return c.OpenOne(ctx) }

// OpenOne is Open with the concrete type.
func (c *Cellhold) OpenOne(ctx context.Context) (*CellholdSession, error) {
	s, err := c.CreateSession(ctx, client.CreateSession{})
	if err != nil {
		return nil, plain(err)
	}
	return &CellholdSession{c: c, ID: s.ID}, nil
}

// Settle waits until every template has its snapshot and its warm sandboxes.
func (c *Cellhold) Settle(ctx context.Context) error {
	const pause = 20 * time.Millisecond // does not affect any figure
	for {
		var list struct {
			Templates []cellhold.Template `json:"templates"`
		}
		if err := c.Call(ctx, http.MethodGet, "/v1/templates", nil, &list); err != nil {
			if cellhold.KindOf(err) == cellhold.NotFound {
				return nil // this version has no templates
			}
			return err
		}
		settled := true
		for _, t := range list.Templates {
			if t.State == cellhold.TemplateFailed {
				return fmt.Errorf("the template %s has no snapshot: %s", t.Name, t.Problem)
			}
			settled = settled && t.State == cellhold.TemplateReady && t.Ready >= t.Warm
		}
		if settled {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the templates were not ready in time: %+v", list.Templates)
		case <-time.After(pause):
		}
	}
}

// Close stops the server, which ends its sandboxes.
func (c *Cellhold) Close() error {
	c.stop()
	return os.RemoveAll(c.home)
}

// CellholdSession is a session of cellhold.
type CellholdSession struct {
	c  *Cellhold
	ID cellhold.SessionID
}

// Run runs a cell over /v1, in one request that waits for the end.
func (s *CellholdSession) Run(ctx context.Context, code string) (Output, error) {
	cell, err := s.c.Execute(ctx, s.ID, client.Code{Code: code})
	if err != nil {
		return Output{}, plain(err)
	}
	var out Output
	for _, o := range cell.Outputs {
		out.Text += o.Text + o.Exception()
		var encoded string
		if raw := o.Data["image/png"]; raw != nil && out.PNG == nil && json.Unmarshal(raw, &encoded) == nil {
			out.PNG, _ = base64.StdEncoding.DecodeString(encoded)
		}
	}
	if cell.Status != cellhold.StatusOK {
		return out, fmt.Errorf("a cell ended with %s (%s): %s", cell.Status, cell.Cause, out.Text)
	}
	return out, nil
}

// Time measures cells over /v1.
func (s *CellholdSession) Time(ctx context.Context, code string, rounds int) ([]time.Duration, error) {
	return timeEach(ctx, s, code, rounds)
}

// Close ends the session. It returns when the sandbox is gone.
func (s *CellholdSession) Close(ctx context.Context) error {
	return plain(s.c.DeleteSession(ctx, s.ID))
}

// plain returns an error of the API as its message, with its cause in parentheses. It returns other errors unchanged.
func plain(err error) error {
	var e *cellhold.Error
	if errors.As(err, &e) && e.Err != nil {
		return fmt.Errorf("%s (%w)", e.Message, e.Err)
	}
	return err
}

// Sandboxes returns the ids of all sandboxes, with or without a session.
func (c *Cellhold) Sandboxes() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(c.home, "run"))
	var ids []string
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

// Fork creates n forks of a session.
func (c *Cellhold) Fork(ctx context.Context, id cellhold.SessionID, n int) ([]Session, error) {
	var made struct {
		Sessions []cellhold.Session `json:"sessions"`
	}
	err := c.Call(ctx, http.MethodPost, "/v1/sessions/"+string(id)+"/fork", map[string]int{"count": n}, &made)
	var forks []Session
	for _, s := range made.Sessions {
		forks = append(forks, &CellholdSession{c: c, ID: s.ID})
	}
	if err == nil && len(forks) != n {
		err = fmt.Errorf("got %d forks, want %d", len(forks), n)
	}
	return forks, err
}
