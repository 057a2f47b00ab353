package main

import (
	"cellhold/client"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/remote"
	"cellhold/internal/cli/script"
	"cellhold/internal/cli/setup"
	"cmp"
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// runCmd runs one script in its own session.
type runCmd struct {
	File           string        `arg:"" help:"Script or notebook: .py, .ipynb, .sh, or a file that begins with #!. - reads a Python script from the standard input." predictor:"file"`
	Args           []string      `arg:"" optional:"" passthrough:"partial" help:"Arguments of the script. They start at the first word after its name that is not a flag of cellhold, or after --."`
	Files          []string      `help:"File or folder to copy into the working directory of the script; can be repeated. Paths relative to the script stay the same." placeholder:"PATH" sep:"none" predictor:"file"`
	Output         script.Output `help:"Folder for the script's files, its figures and the executed notebook. If the folder is new or empty, later runs replace files in it. Default: data goes next to the script and replaces nothing. A size such as 512MiB limits /mnt/data/output instead, as with serve." placeholder:"DIR"`
	URL            string        `help:"Server to run the script on, instead of this process." name:"url" placeholder:"URL"`
	Token          string        `help:"Token for the server." secret:"" placeholder:"TOKEN"`
	Timeout        time.Duration `help:"Interrupt the script after this time." default:"1h"`
	AllowHost      []string      `help:"Host that the script can reach: a name, or *.example.org for its subdomains; can be repeated. Default: no network access." placeholder:"NAME"`
	With           []string      `help:"Package to install first, such as tabulate>=0.9; can be repeated." placeholder:"PACKAGE" sep:"none"`
	setup.Settings `embed:""`
}

// Run runs the script and ends with its exit status.
func (c *runCmd) Run(ctx context.Context, k *kong.Context, all *console.Globals, t *console.Terminal) error {
	if c.URL != "" {
		if err := forServer(k); err != nil {
			return err
		}
	}
	c.Take(all, t)
	source, err := script.Open(c.File, console.WithoutMark(c.Args))
	if err != nil {
		return err
	}
	inputs, err := script.FindInputs(c.Files, source.Folder())
	if err != nil {
		return err
	}
	dest, err := c.Output.Place(source)
	if err != nil {
		return err
	}
	// From here on this command decides what a signal means. SIGPIPE is ignored: a closed output is then an error of
	// a write, and the sandbox is removed as usual.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, console.Handled(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)...)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE, syscall.SIGTTIN)
	ctx = context.WithoutCancel(ctx)
	limits := c.Limits(&setup.ServerSettings{Output: c.Output.Size})
	run := &script.Script{Source: source, Inputs: inputs, Terminal: t, Printer: script.NewPrinter(t, dest.Stem()), Dest: dest, Signals: signals,
		Timeout: c.Timeout, Image: c.Image, Limits: limits, MaxBytes: max(limits.Disk, script.MinBytes), Hosts: c.AllowHost, Packages: c.With}
	if err := c.withServer(ctx, all, t, run.Run); err != nil {
		return console.OwnFailure(err)
	}
	if run.Printer.Exit != console.ExitOK {
		return console.ExitError(run.Printer.Exit)
	}
	return nil
}

// withServer calls use with the server of --url, or with a private server.
func (c *runCmd) withServer(ctx context.Context, all *console.Globals, t *console.Terminal, use func(context.Context, *client.Client) error) error {
	if c.URL != "" {
		server, err := remote.NewClient(c.URL, c.Token, all.Home)
		if err != nil {
			return err
		}
		return use(ctx, server)
	}
	private := privateServer{settings: &c.Settings, hosts: c.AllowHost, users: "scripts", server: setup.ServerSettings{
		Output: cmp.Or(c.Output.Size, defaultOutput), MaxSessions: 1,
		CellTimeout: c.Timeout, MaxCellTimeout: c.Timeout + script.ExitGrace, IdleTimeout: c.Timeout + time.Hour,
	}}
	return private.run(ctx, ctx, all, t, use)
}
