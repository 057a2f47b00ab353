package main

import (
	"cellhold"
	"cellhold/client"
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

// runCmd runs one script in a session of its own.
type runCmd struct {
	File      string        `arg:"" help:"Script or notebook: .py, .ipynb, .sh, or any file that begins with #!; - is a Python script on the standard input."`
	Args      []string      `arg:"" optional:"" passthrough:"partial" help:"Arguments of the script: all that follows its name, from the first word on that is no flag of cellhold, or from --."`
	Files     []string      `help:"File or folder of this machine that the script finds in its working directory, at the same place as next to the script; may be given again." placeholder:"PATH" sep:"none"`
	Output    target        `help:"Folder for all that the script leaves: its files, its figures, the executed notebook. Only in a folder that is new or empty at first may a later run replace them. Without it data is put next to the script, and replaces nothing. A size such as 512MiB bounds /mnt/data/output, as with serve." placeholder:"DIR"`
	URL       string        `help:"Run it at this server instead of in this process." name:"url" placeholder:"URL"`
	Token     string        `help:"Token for that server." secret:"" placeholder:"TOKEN"`
	Timeout   time.Duration `help:"End the script after this time." default:"1h"`
	AllowHost []string      `help:"Host that the script may reach: a name, or *.example.org for all below it. Without any, it reaches nothing." placeholder:"NAME"`
	With      []string      `help:"Package to install first, such as tabulate>=0.9; may be given again." placeholder:"PACKAGE" sep:"none"`
	service   `embed:""`
}

// defaultOutput is how much a script may write to /mnt/data/output when nobody says.
const defaultOutput size = 256 << 20

// onceDir holds the homes of the services that `run` starts for itself.
const onceDir = "once"

// maxOnce bounds the scripts that run at once under one home. Each takes at least 100 MB.
const maxOnce = 64

// Run runs the script and ends with its exit status.
func (c *runCmd) Run(ctx context.Context, k *kong.Context, all *cli, t *terminal) error {
	if err := c.forServer(k); err != nil {
		return err
	}
	source, err := openSource(c.File, withoutMark(c.Args))
	if err != nil {
		return err
	}
	given, err := findGiven(c.Files, source.folder())
	if err != nil {
		return err
	}
	place, err := c.Output.place(source)
	if err != nil {
		return err
	}
	// From here on this command decides itself what a signal means. A reader that went away is an error
	// of our writing, so that the sandbox is ended as always.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, obeyed(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)...)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE, syscall.SIGTTIN)
	ctx = context.WithoutCancel(ctx)
	limits := c.limits(&lifetimes{Output: c.Output.size})
	script := &script{source: source, given: given, term: t, show: newShow(t, place.stem()), place: place, signals: signals,
		timeout: c.Timeout, image: c.Image, limits: limits, room: max(limits.Disk, minRoom), hosts: c.AllowHost, with: c.With}
	if err := c.somewhere(ctx, all, t, script.run); err != nil {
		return err
	}
	if script.show.exit != exitOK {
		return exitError(script.show.exit)
	}
	return nil
}

// remoteSettings are those that mean something at another server.
var remoteSettings = strings.Fields("config home log-level url token timeout allow-host with image memory cpu processes disk tmp output files")

// forServer makes the settings fit a server that was named: of limits and image only those that were
// given go there, because its own defaults hold else. What only a service of our own could do is
// refused; without a word, the script would run under other rules than it was given.
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
			return fmt.Errorf("--%s is a setting of the service, so it cannot be given together with --url", path.Flag.Name)
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

// somewhere runs a function with the server that was named, or else with a private one.
func (c *runCmd) somewhere(ctx context.Context, all *cli, t *terminal, use func(context.Context, *client.Client) error) error {
	if c.URL != "" {
		remote, err := newClient(c.URL, c.Token, all.Home)
		if err != nil {
			return err
		}
		return use(ctx, remote)
	}
	log := t.log
	if all.LogLevel == slog.LevelInfo { // the default, which is for services
		log = slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	return c.privately(ctx, all.Home, log, use)
}

// privately starts a service that only this process can reach, for as long as use runs.
func (c *runCmd) privately(ctx context.Context, home string, log *slog.Logger, use func(context.Context, *client.Client) error) error {
	r, err := c.openOnce(ctx, home, log)
	if err != nil {
		return err
	}
	listener := newPipeListener()
	near, err := client.New(client.Options{
		URL: "http://localhost", HTTP: &http.Client{Transport: &http.Transport{DialContext: listener.Dial}},
	})
	if err != nil {
		return errors.Join(err, r.close())
	}
	door, err := server.New(server.Options{Sessions: r.sessions, AuthOff: true, Version: version(), Logger: log})
	if err != nil {
		return errors.Join(err, r.close())
	}
	err = r.while(ctx, func(ctx context.Context) error {
		serving, stop := context.WithCancel(ctx)
		defer stop()
		served := make(chan error, 1)
		go func() { served <- door.Serve(serving, listener) }()
		err := r.sessions.WaitReady(ctx)
		if err == nil {
			err = use(ctx, near)
		}
		stop()
		return errors.Join(err, <-served)
	})
	return errors.Join(err, r.close())
}

// openOnce opens the rooms of a private service in the first home that no other process uses. What
// a killed one left there is cleared away.
func (c *runCmd) openOnce(ctx context.Context, home string, log *slog.Logger) (*rooms, error) {
	l := lifetimes{Output: cmp.Or(c.Output.size, defaultOutput), warming: warming{NoTemplates: true}, Ephemeral: true, MaxSessions: 1, CellTimeout: c.Timeout, MaxCellTimeout: c.Timeout + lastWords, IdleTimeout: c.Timeout + time.Hour}
	if len(c.AllowHost) > 0 {
		l.reach = reach{MaxEgress: string(cellhold.EgressAllowlist), EgressHost: c.AllowHost}
	}
	if err := makeHome(home); err != nil {
		return nil, err
	}
	for n := range maxOnce {
		r, err := c.open(ctx, filepath.Join(home, onceDir, strconv.Itoa(n+1)), home, l, log)
		if cellhold.KindOf(err) != cellhold.Conflict {
			return r, err
		}
	}
	return nil, fmt.Errorf("%d scripts are running already", maxOnce)
}
