package main

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/setup"
	"cellhold/internal/server"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
)

// defaultOutput is the default size of /mnt/data/output on a private server.
const defaultOutput console.Size = 256 << 20

// remoteSettings are the flags of run and mcp that can be combined with --url.
var remoteSettings = strings.Fields("config home log-level url token timeout allow-host with image memory cpu processes disk tmp output files template session kernel keep graphics figures")

// forServer adapts the settings to the server of --url. Limits and the image are sent only if they were given;
// otherwise the server's defaults apply. It refuses flags that only a private server can use: the code would
// otherwise run under other rules than requested.
func forServer(k *kong.Context) error {
	given := map[string]bool{}
	for _, path := range k.Path {
		if path.Flag == nil {
			continue
		}
		given[path.Flag.Name] = true
		if !path.Resolved && !slices.Contains(remoteSettings, path.Flag.Name) {
			return console.Usage(fmt.Errorf("--%s is a setting of the server and cannot be combined with --url", path.Flag.Name))
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

// privateServer is a server for this process, or for the program that started it. Its sessions end with it.
type privateServer struct {
	settings *setup.Settings
	server   setup.ServerSettings // run sets what all private servers share
	hosts    []string             // hosts that sessions can reach
	users    string               // what uses private servers, for an error message
}

// run starts the server on a pipe, and stops it after use returns. If starting ends, the start is given up.
func (p *privateServer) run(ctx, starting context.Context, all *console.Globals, t *console.Terminal, use func(context.Context, *client.Client) error) error {
	listener := newPipeListener()
	private, err := client.New(client.Options{
		URL: "http://localhost", HTTP: &http.Client{Transport: &http.Transport{DialContext: listener.Dial}},
	})
	if err != nil {
		return err
	}
	return p.serve(ctx, starting, all, t, listener, server.Options{AuthOff: true}, func(ctx context.Context) error {
		return use(ctx, private)
	})
}

// serve starts the server on a listener, and stops it after use returns. If starting ends, the start is given up.
func (p *privateServer) serve(ctx, starting context.Context, all *console.Globals, t *console.Terminal, listener net.Listener, options server.Options, use func(context.Context) error) error {
	log := t.Log
	if all.LogLevel == slog.LevelInfo { // the default, which is meant for serve
		log = slog.New(slog.NewTextHandler(t.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	parts, err := p.open(starting, all.Home, log)
	if err != nil {
		return err
	}
	options.Sessions, options.Version, options.Logger = parts.Sessions, version(), log
	srv, err := server.New(options)
	if err != nil {
		return errors.Join(err, parts.Close())
	}
	err = parts.RunWith(ctx, func(ctx context.Context) error {
		serving, stop := context.WithCancel(ctx)
		defer stop()
		var removing sync.WaitGroup
		defer removing.Wait()
		removing.Go(func() { removeKilled(ctx, all.Home, log) })
		served := make(chan error, 1)
		go func() { served <- srv.Serve(serving, listener) }()
		err := parts.Sessions.WaitReady(starting)
		if err == nil {
			err = use(ctx)
		}
		stop()
		return errors.Join(err, <-served)
	})
	return errors.Join(err, parts.Close())
}

// removeKilled removes what killed private servers left. It continues when ctx ends, for a minute at most.
func removeKilled(ctx context.Context, home string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	setup.RemoveKilled(ctx, home, log)
}

// open opens the server in the first home that no other process uses.
func (p *privateServer) open(ctx context.Context, home string, log *slog.Logger) (*setup.Parts, error) {
	l := p.server
	l.NoTemplates, l.Ephemeral = true, true
	if len(p.hosts) > 0 {
		l.EgressSettings = setup.EgressSettings{MaxEgress: string(cellhold.EgressAllowlist), EgressHost: p.hosts}
	}
	if err := setup.PrepareHome(home); err != nil {
		return nil, err
	}
	for n := range setup.MaxOnce {
		r, err := p.settings.Open(ctx, setup.OnceHome(home, n+1), home, l, log)
		if cellhold.KindOf(err) != cellhold.Conflict {
			return r, err
		}
	}
	return nil, fmt.Errorf("%d %s are running already, the limit of one home; wait, or give another home with --home", setup.MaxOnce, p.users)
}
