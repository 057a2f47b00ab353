package main

import (
	"cellhold/internal/cli/console"
	"cellhold/internal/server"
	"cellhold/internal/server/guard"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"
)

// othersAccess are the flags of serve that give access to other programs. A server of --private has none of it.
var othersAccess = []string{"listen", "auth", "host", "token-file", "trust-gateway", "origin", "tls-cert", "tls-key", "insecure-http", "jupyter-path-token"}

// greeting is the line that serve --private prints.
type greeting struct {
	URL     string `json:"url"`
	Token   string `json:"token"`
	Version string `json:"version"`
}

// serveParent serves the program that started this process, until its standard input ends or a signal comes. The
// parent has the only writer of the input. So the input also ends when the parent is killed.
func (c *serveCmd) serveParent(ctx context.Context, k *kong.Context, all *console.Globals, t *console.Terminal) error {
	for _, path := range k.Path {
		if path.Flag != nil && !path.Resolved && slices.Contains(othersAccess, path.Flag.Name) {
			return console.Usage(fmt.Errorf("--%s cannot be combined with --private: only the program that starts this server can reach it", path.Flag.Name))
		}
	}
	signal.Ignore(syscall.SIGPIPE) // the log can be a pipe of the parent; without it, the sandboxes are removed as usual
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	tokens := guard.NewTokens()
	_, token := tokens.First()
	private := privateServer{settings: &c.Settings, server: c.ServerSettings, users: "private servers"}
	// A signal ends the wait for the parent. Then the server ends its sessions.
	return private.serve(context.WithoutCancel(ctx), ctx, all, t, listener, server.Options{Tokens: tokens}, func(context.Context) error {
		err := json.NewEncoder(t.Out).Encode(greeting{"http://" + listener.Addr().String(), token, version()})
		if err != nil {
			return fmt.Errorf("print the URL: %w", err)
		}
		untilEnd(ctx, t.In)
		return nil
	})
}

// untilEnd returns when the input or ctx ends. If ctx ends first, a goroutine still reads the input. It ends with the
// process, because nothing can interrupt the read of a pipe.
func untilEnd(ctx context.Context, in io.Reader) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
