package main

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/remote"
	"cellhold/internal/cli/script"
	"cellhold/internal/cli/setup"
	"cellhold/internal/server"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// runCmd runs one script in its own session.
type runCmd struct {
	File           string        `arg:"" help:"Script or notebook: .py, .ipynb, .sh, or a file that begins with #!. - reads a Python script from the standard input."`
	Args           []string      `arg:"" optional:"" passthrough:"partial" help:"Arguments of the script. They start at the first word after its name that is not a flag of cellhold, or after --."`
	Files          []string      `help:"File or folder to copy into the working directory of the script; can be repeated. Paths relative to the script stay the same." placeholder:"PATH" sep:"none"`
	Output         script.Output `help:"Folder for the script's files, its figures and the executed notebook. If the folder is new or empty, later runs replace files in it. Default: data goes next to the script and replaces nothing. A size such as 512MiB limits /mnt/data/output instead, as with serve." placeholder:"DIR"`
	URL            string        `help:"Server to run the script on, instead of this process." name:"url" placeholder:"URL"`
	Token          string        `help:"Token for the server." secret:"" placeholder:"TOKEN"`
	Timeout        time.Duration `help:"Interrupt the script after this time." default:"1h"`
	AllowHost      []string      `help:"Host that the script can reach: a name, or *.example.org for its subdomains; can be repeated. Default: no network access." placeholder:"NAME"`
	With           []string      `help:"Package to install first, such as tabulate>=0.9; can be repeated." placeholder:"PACKAGE" sep:"none"`
	setup.Settings `embed:""`
}

// defaultOutput is the default size of a script's /mnt/data/output.
const defaultOutput console.Size = 256 << 20

// onceDir is the folder in a home for the homes of private servers.
const onceDir = "once"

// maxOnce bounds the scripts that run at the same time with one home. Each needs at least 100 MB.
const maxOnce = 64

// Run runs the script and ends with its exit status.
func (c *runCmd) Run(ctx context.Context, k *kong.Context, all *console.Globals, t *console.Terminal) error {
	if err := c.forServer(k); err != nil {
		return err
	}
	c.Environ = t.Environ
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
		return err
	}
	if run.Printer.Exit != console.ExitOK {
		return console.ExitError(run.Printer.Exit)
	}
	return nil
}

// remoteSettings are the flags that can be combined with --url.
var remoteSettings = strings.Fields("config home log-level url token timeout allow-host with image memory cpu processes disk tmp output files")

// forServer adapts the settings to the server of --url. Limits and the image are sent only if they were given;
// otherwise the server's defaults apply. It refuses flags that only a private server can use: the script would
// otherwise run under other rules than requested.
func (c *runCmd) forServer(k *kong.Context) error {
	if c.URL == "" {
		return nil
	}
	given := map[string]bool{}
	for _, path := range k.Path {
		if path.Flag == nil {
			continue
		}
		given[path.Flag.Name] = true
		if !path.Resolved && !slices.Contains(remoteSettings, path.Flag.Name) {
			return fmt.Errorf("--%s is a setting of the server and cannot be combined with --url", path.Flag.Name)
		}
	}
	for _, flag := range k.Flags() {
		if slices.Contains(remoteSettings, flag.Name) && !given[flag.Name] && !slices.ContainsFunc(flag.Envs, isSet) {
			switch flag.Name {
			case "image", "memory", "cpu", "processes", "disk", "tmp":
				flag.Target.SetZero()
			}
		}
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
	log := t.Log
	if all.LogLevel == slog.LevelInfo { // the default, which is meant for serve
		log = slog.New(slog.NewTextHandler(t.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	return c.withPrivateServer(ctx, all.Home, log, use)
}

// withPrivateServer starts a server that only this process can reach, and stops it after use returns.
func (c *runCmd) withPrivateServer(ctx context.Context, home string, log *slog.Logger, use func(context.Context, *client.Client) error) error {
	parts, err := c.openPrivate(ctx, home, log)
	if err != nil {
		return err
	}
	listener := newPipeListener()
	private, err := client.New(client.Options{
		URL: "http://localhost", HTTP: &http.Client{Transport: &http.Transport{DialContext: listener.Dial}},
	})
	if err != nil {
		return errors.Join(err, parts.Close())
	}
	srv, err := server.New(server.Options{Sessions: parts.Sessions, AuthOff: true, Version: version(), Logger: log})
	if err != nil {
		return errors.Join(err, parts.Close())
	}
	err = parts.RunWith(ctx, func(ctx context.Context) error {
		serving, stop := context.WithCancel(ctx)
		defer stop()
		served := make(chan error, 1)
		go func() { served <- srv.Serve(serving, listener) }()
		err := parts.Sessions.WaitReady(ctx)
		if err == nil {
			err = use(ctx, private)
		}
		stop()
		return errors.Join(err, <-served)
	})
	return errors.Join(err, parts.Close())
}

// openPrivate opens a private server in the first home that no other process uses. It removes the remains of killed
// processes in that home.
func (c *runCmd) openPrivate(ctx context.Context, home string, log *slog.Logger) (*setup.Parts, error) {
	l := setup.ServerSettings{Output: cmp.Or(c.Output.Size, defaultOutput), TemplateSettings: setup.TemplateSettings{NoTemplates: true}, Ephemeral: true, MaxSessions: 1, CellTimeout: c.Timeout, MaxCellTimeout: c.Timeout + script.ExitGrace, IdleTimeout: c.Timeout + time.Hour}
	if len(c.AllowHost) > 0 {
		l.EgressSettings = setup.EgressSettings{MaxEgress: string(cellhold.EgressAllowlist), EgressHost: c.AllowHost}
	}
	if err := setup.MakeHome(home); err != nil {
		return nil, err
	}
	for n := range maxOnce {
		r, err := c.Open(ctx, filepath.Join(home, onceDir, strconv.Itoa(n+1)), home, l, log)
		if cellhold.KindOf(err) != cellhold.Conflict {
			return r, err
		}
	}
	return nil, fmt.Errorf("%d scripts are running already, the limit of one home; wait, or give another home with --home", maxOnce)
}
