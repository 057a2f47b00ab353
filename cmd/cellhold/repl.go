package main

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/output"
	"cellhold/internal/cli/picture"
	"cellhold/internal/cli/remote"
	"cellhold/internal/cli/repl"
	"cellhold/internal/cli/setup"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// replCmd is the interactive terminal.
type replCmd struct {
	Session        cellhold.SessionID `arg:"" optional:"" help:"Session id. Without it, the command creates a session and ends it at the end."`
	URL            string             `help:"URL of the server. Default: with a session, http://127.0.0.1:5002; otherwise this process is the server." name:"url" placeholder:"URL"`
	Token          string             `help:"Token for the server. Default: the first token in the home." secret:"" placeholder:"TOKEN"`
	Kernel         cellhold.KernelID  `help:"Kernel of the session. Default: the first one." placeholder:"ID"`
	Keep           bool               `help:"Do not end the new session at the end. Needs --url."`
	Timeout        time.Duration      `help:"Interrupt each cell after this time. 0: default (set by the server; 24h without a server)." default:"0s"`
	Graphics       string             `help:"How to show figures: auto, kitty, iterm, sixel, or none to save them as files." enum:"auto,kitty,iterm,sixel,none" default:"auto"`
	Figures        string             `help:"Folder for figures that the terminal cannot show. Default: a new folder in the cache folder of your user." placeholder:"DIR"`
	AllowHost      []string           `help:"Host that code in the new session can reach: a name, or *.example.org for its subdomains; can be repeated. Default: no network access." placeholder:"NAME"`
	setup.Settings `embed:""`
}

// Help returns the text below the list of flags.
func (replCmd) Help() string {
	return "Tab completes names of the running kernel, name? describes an object, and %help lists the commands of the prompt. " +
		"Ctrl-C interrupts the cell. A second Ctrl-C leaves the cell running and ends the command; cellhold repl SESSION comes back. " +
		"A session that the command created ends with the command, unless --keep is given or a cell was left running. " +
		"NO_COLOR switches colours off."
}

const (
	// replTimeout is the longest time of a cell without a server. Ctrl-C interrupts a cell earlier.
	replTimeout = 24 * time.Hour
	// replSessions is the maximum number of sessions without a server: %fork creates sessions.
	replSessions = 8
	replURL      = "http://127.0.0.1:5002"
)

// Run reads and runs code until the user ends the command.
func (c *replCmd) Run(ctx context.Context, k *kong.Context, all *console.Globals, t *console.Terminal) error {
	if c.URL == "" && c.Session != "" {
		c.URL = replURL
	}
	if c.URL != "" {
		if err := forServer(k); err != nil {
			return err
		}
	} else if c.Keep {
		return console.Usage(errors.New("--keep needs a server: give its URL with --url"))
	}
	c.Environ = t.Environ
	// From here on this command decides what a signal means.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, console.Handled(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)...)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE)
	ctx = context.WithoutCancel(ctx)
	use := func(ctx context.Context, server *client.Client) error { return c.inSession(ctx, server, t, signals) }
	if c.URL != "" {
		server, err := remote.NewClient(c.URL, c.Token, all.Home)
		if err != nil {
			return err
		}
		return use(ctx, server)
	}
	timeout := cmp.Or(c.Timeout, replTimeout)
	private := privateServer{settings: &c.Settings, hosts: c.AllowHost, users: "terminals", server: setup.ServerSettings{
		Output: defaultOutput, MaxSessions: replSessions, CellTimeout: timeout, MaxCellTimeout: timeout, IdleTimeout: replTimeout,
	}}
	return private.run(ctx, ctx, all, t, use)
}

// endTime limits the time for ending the session.
const endTime = 20 * time.Second

// inSession runs the terminal in the chosen session, or in a new one, which it ends.
func (c *replCmd) inSession(ctx context.Context, server *client.Client, t *console.Terminal, signals <-chan os.Signal) error {
	id := c.Session
	if id == "" {
		s, err := server.CreateSession(ctx, client.CreateSession{Image: c.Image, Limits: c.Limits(&setup.ServerSettings{}), Egress: c.egress()})
		if err != nil {
			return err
		}
		id = s.ID
	}
	r := &repl.REPL{Client: server, Terminal: t, Printer: output.New(t, c.figures(t, id), c.pictures(t)), Signals: signals,
		Session: id, Kernel: c.Kernel, Timeout: c.Timeout, Private: c.URL == "", Return: c.returning()}
	if console.IsTerminal(t.Out) {
		fmt.Fprintf(t.Out, "Session %s. %%help lists the commands; Ctrl-D ends.\n", console.Printable(string(id)))
	}
	err := r.Run(ctx)
	detached := errors.Is(err, repl.ErrDetached)
	switch {
	case detached && !r.Private:
		fmt.Fprintf(t.Err, "\ncellhold: the cell continues. To come back: %s %s\n", c.returning(), console.Printable(string(r.Session)))
		return console.ExitError(console.ExitInterrupted)
	case detached:
		fmt.Fprintln(t.Err, "\ncellhold: the cell and its session end, because this process is their server; with --url, they would continue")
		err = console.ExitError(console.ExitInterrupted)
	case c.Session == "" && c.Keep:
		fmt.Fprintf(t.Err, "cellhold: the session stays. To come back: %s %s\n", c.returning(), console.Printable(string(r.Session)))
		return err
	}
	if c.Session != "" {
		return err
	}
	ending, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if end := server.DeleteSession(ending, id); cellhold.KindOf(end) != cellhold.NotFound {
		err = errors.Join(err, end)
	}
	return err
}

// returning returns the command that comes back to a session, without the session.
func (c *replCmd) returning() string {
	if c.URL == replURL {
		return "cellhold repl"
	}
	return "cellhold repl --url " + c.URL
}

// egress returns the egress of a new session.
func (c *replCmd) egress() *cellhold.Egress {
	if len(c.AllowHost) == 0 {
		return &cellhold.Egress{Policy: cellhold.EgressNone}
	}
	return &cellhold.Egress{Policy: cellhold.EgressAllowlist, Hosts: c.AllowHost}
}

// pictures returns the screen for figures, or nil if the terminal shows none.
func (c *replCmd) pictures(t *console.Terminal) *picture.Screen {
	screen := &picture.Screen{W: t.Out, Protocol: picture.Protocol(c.Graphics), Tmux: t.Getenv("TMUX") != ""}
	if c.Graphics == "auto" {
		screen.Protocol = picture.None
		if out, ok := t.Out.(*os.File); ok && console.IsTerminal(out) {
			screen.Protocol, screen.Tmux = picture.Detect(console.InputTerminal(t.In), out, t.Getenv)
		}
	}
	if screen.Protocol == picture.None {
		return nil
	}
	return screen
}

// figures returns the files of figures that the terminal does not show.
func (c *replCmd) figures(t *console.Terminal, id cellhold.SessionID) *output.Figures {
	dir := c.Figures
	if dir == "" {
		cache := t.Getenv("XDG_CACHE_HOME")
		if !filepath.IsAbs(cache) {
			cache = filepath.Join(t.Getenv("HOME"), ".cache")
		}
		dir = filepath.Join(cache, "cellhold", "figures", filepath.Base(string(id)))
	}
	return &output.Figures{Dir: dir}
}
