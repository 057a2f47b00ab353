package remote

import (
	"bufio"
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// OnceCmd runs code in a sandbox that is used once.
type OnceCmd struct {
	printing `embed:""`

	Code     string        `arg:"" optional:"" help:"Code to run. - or nothing reads it from the standard input."`
	File     string        `help:"Read the code from this file." short:"f" placeholder:"PATH" type:"existingfile"`
	Language string        `help:"Language of the code. Default: python." short:"l" placeholder:"NAME"`
	Template string        `help:"Template of the sandbox." placeholder:"NAME"`
	Image    string        `help:"Image of the sandbox." placeholder:"NAME" predictor:"image"`
	Package  []string      `help:"Package to install first; can be repeated." placeholder:"NAME" sep:"none"`
	Timeout  time.Duration `help:"End the code after this time. 0: default (set by the server)." default:"0s"`
	Key      string        `help:"Your name for this run. A second command with the same name runs no second time." placeholder:"NAME"`
}

// Help returns the text below the list of flags.
func (OnceCmd) Help() string {
	return "The server makes a sandbox for the code, and destroys it afterwards. With --json the command prints the whole result, with figures and files. " +
		"The exit status is that of the code. Other statuses: 124 (timeout), 137 (no memory left)."
}

// Run runs the code and prints what it wrote.
func (c *OnceCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	remote, out, err := c.open(all, t)
	if err != nil {
		return err
	}
	code, err := (&SubmitCmd{Code: c.Code, File: c.File}).source(t.In)
	if err != nil {
		return err
	}
	r, err := remote.RunWithKey(ctx, c.Key, cellhold.RunRequest{Code: code, Language: c.Language, Template: c.Template, Image: c.Image,
		Packages: c.Package, Timeout: c.Timeout.Seconds()})
	if err != nil {
		return err
	}
	if err := c.print(out, t, r); err != nil {
		return err
	}
	if status := runExit(r); status != console.ExitOK {
		return console.ExitError(status)
	}
	return nil
}

func (c *OnceCmd) print(out console.Printer, t *console.Terminal, r cellhold.RunResult) error {
	if out.JSON {
		return out.Document(r)
	}
	p := newCellPrinter(t)
	defer p.end()
	err := errors.Join(printOutput(bytesTo(t, t.Out), r.Stdout), printOutput(bytesTo(t, t.Err), r.Stderr))
	for _, o := range r.Outputs {
		err = errors.Join(err, p.display(o.Data))
	}
	if r.Exception != nil {
		err = errors.Join(err, p.trace.Block(strings.Join(r.Exception.Traceback, "\n")))
	}
	if r.Cause != "" {
		err = errors.Join(err, p.note(r.Cause))
	}
	return err
}

// runExit returns the exit status for the result of a run.
func runExit(r cellhold.RunResult) int {
	switch {
	case r.Status == cellhold.RunOK:
		return console.ExitOK
	case r.Status == cellhold.RunTimeout:
		return console.ExitTimeout
	case r.Status == cellhold.RunOOM:
		return console.ExitKilled
	case r.Exit != nil && *r.Exit > 0 && *r.Exit < 256:
		return *r.Exit
	}
	return console.ExitFailed
}

// BatchCmd runs many programs, each in a sandbox that is used once.
type BatchCmd struct {
	printing `embed:""`

	File     string `arg:"" optional:"" help:"File with one run on each line, as JSON. - or nothing reads the standard input." predictor:"file"`
	Parallel int    `help:"Maximum number of runs at the same time. 0: default (set by the server)." default:"0"`
	Key      string `help:"Your name for this batch. A second command with the same name continues the batch." placeholder:"NAME"`
}

// Help returns the text below the list of flags.
func (BatchCmd) Help() string {
	return `A line is a run of the HTTP API, such as {"code": "print(6*7)", "tests": [{"stdout": "42"}]}. The command prints each result when its run ends. ` +
		"The exit status is 1 if a run did not end with the status ok."
}

// Run runs the batch and prints each result.
func (c *BatchCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	remote, out, err := c.open(all, t)
	if err != nil {
		return err
	}
	batch := client.Batch{Parallel: c.Parallel, Key: c.Key}
	if batch.Runs, err = c.runs(t.In); err != nil {
		return err
	}
	failed := false
	for r, err := range remote.Runs(ctx, batch) {
		if err != nil {
			return err
		}
		failed = failed || r.Status != cellhold.RunOK
		switch {
		case out.JSON:
			err = out.Line(r)
		case out.Quiet:
			err = out.Result(r, strconv.Itoa(r.Index))
		default:
			err = out.Report(r, "run %d: %s%s", r.Index, r.Status, details(r))
		}
		if err != nil {
			return err
		}
	}
	if failed {
		return console.ExitError(console.ExitFailed)
	}
	return nil
}

// details returns the number of passed tests and the cause of a result.
func details(r cellhold.RunResult) (text string) {
	if len(r.Tests) > 0 {
		text = fmt.Sprintf(", %d of %d tests passed", r.Passed, len(r.Tests))
	}
	switch {
	case r.Error != nil:
		text += ": " + r.Error.Detail
	case r.Cause != "":
		text += ": " + r.Cause
	}
	return text
}

// runs reads the runs of the batch.
func (c *BatchCmd) runs(in io.Reader) (all []cellhold.RunRequest, err error) {
	if c.File != "" && c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	if in == nil {
		in = strings.NewReader("")
	}
	lines := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if len(strings.TrimSpace(string(line))) > 0 {
			var r cellhold.RunRequest
			if err := json.Unmarshal(line, &r); err != nil {
				return nil, console.Usage(fmt.Errorf("line %d is not a run: %w", n, err))
			}
			all = append(all, r)
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// StatusCmd prints the state of a server.
type StatusCmd struct {
	printing `embed:""`
}

// serverState is the JSON of StatusCmd.
type serverState struct {
	client.ServerStatus
	client.Version
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"` // why the server is not ready
}

// Run prints the state. The exit status is that of the error if the server cannot be reached, or is not ready.
func (c *StatusCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	remote, out, err := c.open(all, t)
	if err != nil {
		return err
	}
	if err := remote.Health(ctx); err != nil {
		return err
	}
	var s serverState
	if s.Version, err = remote.Version(ctx); err != nil {
		return err
	}
	notReady := remote.Ready(ctx)
	if s.Ready = notReady == nil; !s.Ready {
		s.Reason = console.Message(notReady).Error()
	}
	if s.ServerStatus, err = remote.Status(ctx); err != nil {
		return err
	}
	state := "ready"
	if !s.Ready {
		state = s.Reason
	}
	err = out.Object(s, state, []console.Field{{Name: "state", Value: state}, {Name: "version", Value: s.Version.Version}, {Name: "api", Value: s.API}, {Name: "go", Value: s.Go},
		{Name: "uptime", Value: (time.Duration(s.Uptime) * time.Second).String()}, {Name: "sessions", Value: strconv.Itoa(s.Sessions)},
		{Name: "heap", Value: console.Size(s.Heap).Rounded()}, {Name: "goroutines", Value: strconv.Itoa(s.Goroutines)}})
	if err == nil && !s.Ready {
		return console.ExitError(console.ExitUnavailable)
	}
	return err
}
