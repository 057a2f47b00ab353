package main

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/container"
	"cellhold/internal/cli/remote"
	"cellhold/internal/cli/setup"
	"cellhold/internal/server"
	"cellhold/internal/server/guard"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"

	"github.com/alecthomas/kong"
)

// serveCmd starts the server.
type serveCmd struct {
	access               `embed:""`
	setup.Settings       `embed:""`
	setup.ServerSettings `embed:""`

	DropTo  container.User `help:"As root, give the container's cgroups and empty folders to this user, and continue as this user without any capability." placeholder:"UID:GID" group:"Access to the server:"`
	Private bool           `help:"Serve only the program that starts this command, on a free port of 127.0.0.1, with a new token. The command prints the URL and the token as JSON. It ends with its standard input, and its sessions end with it." group:"Access to the server:"`
}

// access holds the settings of access to the server: address, tokens, host names, web origins and TLS.
type access struct {
	Listen       string   `help:"Address to listen on." default:"127.0.0.1:5002" placeholder:"HOST:PORT"`
	Auth         string   `help:"Require a token: on or off. off is allowed on loopback, and in a container with --trust-gateway." enum:"on,off" default:"on" group:"Access to the server:"`
	Host         []string `help:"Further host name of this server, for clients and proxies; can be repeated." placeholder:"NAME" group:"Access to the server:"`
	TokenFile    string   `help:"File with the callers' tokens: lines with a name and a token. Default: the file token in the home, created with one token. Without this flag, the variable CELLHOLD_TOKEN gives the only token." type:"path" placeholder:"FILE" group:"Access to the server:"`
	TrustGateway bool     `help:"With --auth=off in a container: trust everything that connects by the gateway of the network. Only a port that is published at 127.0.0.1 of the host is protected. The server cannot check the publication." group:"Access to the server:"`
	Origin       []string `help:"Web origin whose pages can call this server; can be repeated." placeholder:"URL" group:"Access to the server:"`
	TLSCert      string   `help:"File with the TLS certificate chain. Enables HTTPS." name:"tls-cert" type:"path" placeholder:"FILE" group:"Access to the server:"`
	TLSKey       string   `help:"File with the private key of the certificate." name:"tls-key" type:"path" placeholder:"FILE" group:"Access to the server:"`
	InsecureHTTP bool     `help:"Allow plain HTTP on other addresses than loopback, for a proxy that provides TLS." name:"insecure-http" group:"Access to the server:"`

	JupyterPathToken bool `help:"Accept a token in the path, as in /jupyter/t/TOKEN, for clients of Jupyter that send no token with a WebSocket." group:"Access to the server:"`
	JupyterOlderForm bool `help:"Use only the older form of Jupyter's messages, for clients that fail with the subprotocol v1." group:"Access to the server:"`
}

// Run serves until a signal ends it. Sessions stay for the next start, unless --ephemeral is set.
func (c *serveCmd) Run(ctx context.Context, k *kong.Context, all *console.Globals, t *console.Terminal) (err error) {
	limitProcessors()
	limitMemory()
	c.Take(all, t)
	// These checks come before anything is opened: a dangerous address is refused at once.
	if err := c.ServerSettings.Check(); err != nil {
		return console.Usage(err)
	}
	if err := c.becomePlain(all, t); err != nil {
		return err
	}
	if c.Private {
		return c.serveParent(ctx, k, all, t)
	}
	options, err := c.access.options(all.Home, t)
	if err != nil {
		return err
	}
	parts, err := c.Open(ctx, all.Home, all.Home, c.ServerSettings, t.Log)
	if err != nil {
		return container.Explain(err)
	}
	defer func() { err = errors.Join(err, parts.Close()) }()
	if _, err := parts.Finder.Resolve(c.Image); cellhold.KindOf(err) == cellhold.Unavailable {
		t.Log.Error("sessions with the default image cannot start", "err", console.Message(err)) // other sessions can
	} else if err != nil {
		return console.Message(err)
	}
	for _, limit := range parts.Driver.Features().Unenforced {
		t.Log.Warn(limit)
	}
	options.Sessions, options.Version, options.Logger = parts.Sessions, version(), t.Log
	srv, err := server.New(options)
	if err != nil {
		return err
	}
	listener, err := net.Listen(setup.Network(c.Listen), c.Listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	return parts.RunWith(ctx, func(ctx context.Context) error {
		if err := parts.Sessions.WaitReady(ctx); err != nil {
			listener.Close()
			return err
		}
		var removing sync.WaitGroup
		defer removing.Wait()
		removing.Go(func() { removeKilled(ctx, all.Home, t.Log) })
		c.printWelcome(t, listener.Addr(), options.Tokens, all.Home)
		return srv.Serve(ctx, listener)
	})
}

// whatAStopKeeps says what the next start of the server finds. A container ends all its processes with the first one.
func whatAStopKeeps() string {
	if os.Getpid() == 1 {
		return "A stop ends running sessions, with their variables. Hibernated sessions, cells and notebooks stay for the next start."
	}
	return "Stop it with Ctrl-C; sessions stay alive for the next start."
}

// reachable returns the address at which programs on this machine reach the listener. others reports whether the
// listener also accepts connections at the other addresses of this machine.
func reachable(addr net.Addr, asked string) (at string, others bool) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String(), false
	}
	host, _, _ := net.SplitHostPort(asked)
	loopback := "127.0.0.1"
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		loopback = "::1"
	}
	return net.JoinHostPort(loopback, strconv.Itoa(tcp.Port)), true
}

// limitProcessors lets this process use half of the processors. A dozen goroutines handle a cell, one after the other.
// With a thread for each processor, Go wakes a second thread in most of these steps. That thread finds no work, but it
// uses a fifth of the server's CPU time in a cell, on a processor that the sandbox needs. GOMAXPROCS overrides this.
func limitProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}

// collectAbove is the memory in bytes above which Go collects garbage more often. A server that carries no large outputs
// has less.
const collectAbove = 384 << 20

// limitMemory makes Go collect garbage more often above collectAbove. The budgets of package memory bound the memory in
// use. Without this limit, Go would let the process grow to twice that before it collects. GOMEMLIMIT overrides this.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(collectAbove)
	}
}

// options returns the server's options that are flags.
func (a *access) options(home string, t *console.Terminal) (server.Options, error) {
	if err := a.check(); err != nil {
		return server.Options{}, console.Usage(err)
	}
	o := server.Options{AuthOff: a.Auth == "off", Hosts: a.Host, Origins: a.Origin, InsecureHTTP: a.InsecureHTTP,
		JupyterPathToken: a.JupyterPathToken, JupyterOlderForm: a.JupyterOlderForm}
	if (a.TLSCert == "") != (a.TLSKey == "") {
		return o, console.Usage(errors.New("--tls-cert and --tls-key must be given together"))
	}
	if a.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(a.TLSCert, a.TLSKey)
		if err != nil {
			return o, fmt.Errorf("cannot use the certificate of --tls-cert and --tls-key: %w", err)
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	if o.AuthOff && a.TokenFile != "" {
		return o, console.Usage(errors.New("--auth=off accepts every caller, and --token-file gives tokens: remove one of them"))
	}
	if o.AuthOff && t.Getenv(tokenVariable) != "" {
		return o, console.Usage(errors.New("--auth=off accepts every caller, and " + tokenVariable + " gives a token: remove one of them"))
	}
	if err := a.trust(&o, container.Inside()); err != nil {
		return o, err
	}
	exposed := guard.Exposure{Gateway: len(o.Gateways) > 0, Addr: a.Listen, Auth: !o.AuthOff, TLS: o.TLS != nil, InsecureHTTP: o.InsecureHTTP}
	if err := guard.CheckExposure(exposed); err != nil {
		return o, console.Usage(err)
	}
	if o.AuthOff {
		return o, nil
	}
	if err := setup.PrepareHome(home); err != nil {
		return o, err
	}
	var err error
	o.Tokens, err = a.tokens(home, t)
	return o, err
}

// trust sets the addresses that --trust-gateway trusts. Outside a container (inside is false) the gateway is a router:
// it passes on connections of other machines, and can connect by itself.
func (a *access) trust(o *server.Options, inside bool) (err error) {
	if !a.TrustGateway {
		return nil
	}
	if !o.AuthOff {
		return console.Usage(errors.New("--trust-gateway has a meaning only with --auth=off: remove it, or add --auth=off"))
	}
	if !inside {
		return console.Usage(errors.New("--trust-gateway works only in a container of Docker or Podman, because elsewhere the gateway is a router: remove it, and use tokens or listen on 127.0.0.1"))
	}
	if o.Gateways, err = guard.Gateways(); err != nil {
		return fmt.Errorf("--trust-gateway: %w", err)
	}
	return nil
}

// tokens returns the tokens of --token-file, the token of the environment, or those of the home.
func (a *access) tokens(home string, t *console.Terminal) (*guard.Tokens, error) {
	if a.TokenFile != "" {
		if _, err := os.Stat(a.TokenFile); err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		return guard.LoadTokens(a.TokenFile)
	}
	if token := t.Getenv(tokenVariable); token != "" {
		given, err := guard.GivenToken(token)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", tokenVariable, err)
		}
		return given, nil
	}
	return guard.LoadTokens(filepath.Join(home, remote.TokenFile))
}

// tokenVariable gives the server its only token. Commands that use a server read the same variable.
const tokenVariable = "CELLHOLD_TOKEN"

// origin says where people find the token, and whether it must not be printed because they gave it themselves.
func (a *access) origin(home string, t *console.Terminal) (where string, given bool) {
	switch {
	case a.TokenFile != "":
		return "is the first one of " + a.TokenFile, true
	case t.Getenv(tokenVariable) != "":
		return "is that of " + tokenVariable, true
	}
	return "saved in " + filepath.Join(home, remote.TokenFile), false
}

// printWelcome prints how to begin. The token is printed here only.
func (c *serveCmd) printWelcome(t *console.Terminal, addr net.Addr, tokens *guard.Tokens, home string) {
	at, others := reachable(addr, c.Listen)
	url := "http://" + at
	if c.TLSCert != "" {
		url = "https://" + at
	}
	fmt.Fprintf(t.Out, "cellhold %s is ready.\n\n  URL    %s  (documentation: %s/docs)\n", version(), url, url)
	if others {
		_, port, _ := net.SplitHostPort(at)
		fmt.Fprintf(t.Out, "         Other machines reach it at the addresses of this machine, port %s (--listen %s).\n", port, c.Listen)
	}
	auth := ""
	switch where, given := c.origin(home, t); {
	case tokens == nil && c.TrustGateway:
		fmt.Fprintf(t.Out, "  Token  not required: everything that connects by the gateway of this network can run code here.\n         Publish the port at 127.0.0.1 of the host only. Otherwise other machines can connect by the gateway too.\n")
	case tokens == nil:
		fmt.Fprintf(t.Out, "  Token  not required: every program on this machine can run code here\n")
	case given:
		fmt.Fprintf(t.Out, "  Token  %s\n", where)
		auth = " \\\n    -H \"Authorization: Bearer $TOKEN\""
	default:
		_, token := tokens.First()
		fmt.Fprintf(t.Out, "  Token  %s  (%s)\n", token, where)
		auth = fmt.Sprintf(" \\\n    -H 'Authorization: Bearer %s'", token)
	}
	fmt.Fprintf(t.Out, `
Try it:

  curl %s/start_session%s -d user_id=me
  curl %s/execute%s \
    -H 'Content-Type: application/json' -d '{"user_id": "me", "code": "1 + 1"}'

%s
`, url, auth, url, auth, whatAStopKeeps())
}
