package main

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/server"
	"context"
	"errors"
	"fmt"
	"io"
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
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// runCmd runs one script in a session of its own.
type runCmd struct {
	File      string        `arg:"" help:"Python file; - is the standard input."`
	Args      []string      `arg:"" optional:"" passthrough:"partial" help:"Arguments of the script: all that follows the first one, or --."`
	URL       string        `help:"Run it at this server instead of in this process." name:"url" placeholder:"URL"`
	Token     string        `help:"Token for that server." secret:"" placeholder:"TOKEN"`
	Timeout   time.Duration `help:"End the script after this time." default:"1h"`
	AllowHost []string      `help:"Host that the script may reach: a name, or *.example.org for all below it. Without any, it reaches nothing." placeholder:"NAME"`
	With      []string      `help:"Package to install first, such as tabulate>=0.9; may be given again." placeholder:"PACKAGE" sep:"none"`
	service   `embed:""`
}

// onceDir holds the homes of the services that `run` starts for itself.
const onceDir = "once"

// maxOnce bounds the scripts that run at once under one home. Each takes at least 100 MB.
const maxOnce = 64

// stdinName is the name of a script that comes from the standard input.
const stdinName = "-"

// Run runs the script and ends with its exit status.
func (c *runCmd) Run(ctx context.Context, k *kong.Context, all *cli, t *terminal) error {
	if err := c.forServer(k); err != nil {
		return err
	}
	code, err := c.read(t.in)
	if err != nil {
		return err
	}
	prepare, err := startup(c.File, withoutMark(c.Args))
	if err != nil {
		return err
	}
	// From here on this command decides itself what a signal means.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx = context.WithoutCancel(ctx)
	asker := newAsker(c.askAt(t.in))
	defer asker.restore()
	script := &script{name: c.File, code: code, startup: prepare, asker: asker, show: newShow(t, c.figures()), signals: signals, timeout: c.Timeout, image: c.Image, limits: c.limits(), hosts: c.AllowHost, with: c.With}
	if err := c.somewhere(ctx, all, t, script.run); err != nil {
		return err
	}
	if script.show.exit != exitOK {
		return exitError(script.show.exit)
	}
	return nil
}

// remoteSettings are those that mean something at another server.
var remoteSettings = strings.Fields("config home log-level url token timeout allow-host with image memory cpu processes disk tmp output")

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
			case "image", "memory", "cpu", "processes", "disk", "tmp", "output":
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

func (c *runCmd) read(in io.Reader) (string, error) {
	name, code, err := "the script", []byte(nil), error(nil)
	if c.File == stdinName {
		code, err = io.ReadAll(in)
	} else {
		name = c.File
		code, err = os.ReadFile(c.File)
	}
	if err == nil && !utf8.Valid(code) {
		// The code travels as JSON, which is UTF-8: other bytes would arrive as something else.
		err = fmt.Errorf("%s is not UTF-8 text; convert it first, as with: iconv -f latin1 -t utf-8", name)
	}
	return strings.TrimPrefix(string(code), "\ufeff"), err
}

// askAt is the terminal where the script's input() is answered: none when the script came from there, or
// when nobody can type.
func (c *runCmd) askAt(in io.Reader) *os.File {
	if c.File == stdinName {
		return nil
	}
	return inputTerminal(in)
}

// figures returns the path of figures without number and ending: beside the script.
func (c *runCmd) figures() string {
	if c.File == stdinName {
		return "figure"
	}
	return strings.TrimSuffix(c.File, filepath.Ext(c.File))
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
	l := lifetimes{warming: warming{NoTemplates: true}, Ephemeral: true, MaxSessions: 1, CellTimeout: c.Timeout, MaxCellTimeout: c.Timeout, IdleTimeout: c.Timeout + time.Hour}
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
