package main

import (
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
	"strconv"
)

// serveCmd starts the service.
type serveCmd struct {
	service   `embed:""`
	lifetimes `embed:""`
	access    `embed:""`
}

// access holds the settings of who may call, and from where.
type access struct {
	Listen       string   `help:"Address to listen on." default:"127.0.0.1:5002" placeholder:"HOST:PORT"`
	Auth         string   `help:"Whether callers need a token: on or off. Off works on loopback only." enum:"on,off" default:"on"`
	Host         []string `help:"Further names by which clients may call this server." placeholder:"NAME"`
	Origin       []string `help:"Web origins whose pages may call this server." placeholder:"URL"`
	TLSCert      string   `help:"Certificate chain; with it the server speaks TLS." name:"tls-cert" type:"path" placeholder:"FILE"`
	TLSKey       string   `help:"Private key of the certificate." name:"tls-key" type:"path" placeholder:"FILE"`
	InsecureHTTP bool     `help:"Allow plain HTTP beyond loopback, where a proxy in front speaks TLS." name:"insecure-http"`
}

// Run serves until a signal ends it. Sessions stay for the next start.
func (c *serveCmd) Run(ctx context.Context, all *cli, t *terminal) (err error) {
	leaveProcessors()
	// Before anything is opened: a dangerous address is refused at once.
	if err := c.lifetimes.check(); err != nil {
		return err
	}
	options, err := c.access.options(all.Home)
	if err != nil {
		return err
	}
	r, err := c.open(ctx, all.Home, all.Home, c.lifetimes, t.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if _, err := r.finder.Resolve(c.Image); err != nil {
		return plainly(err)
	}
	for _, limit := range r.driver.Features().Unheld {
		t.log.Warn(limit)
	}
	options.Sessions, options.Version, options.Logger = r.sessions, version(), t.log
	door, err := server.New(options)
	if err != nil {
		return err
	}
	listener, err := net.Listen(network(c.Listen), c.Listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	return r.while(ctx, func(ctx context.Context) error {
		if err := r.sessions.WaitReady(ctx); err != nil {
			listener.Close()
			return err
		}
		c.greet(t, listener.Addr(), options.Tokens, all.Home)
		return door.Serve(ctx, listener)
	})
}

// network is what an address is listened on with. 0.0.0.0 is every address of IPv4, for which Go would also
// take those of IPv6.
func network(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}

// reachable is an address by which this machine reaches a listener, and whether others do so by other ones.
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

// leaveProcessors lets this process use half of the processors at a time. A cell passes through a dozen
// goroutines, and with a thread for each processor Go wakes a second one at most of these steps, which
// finds nothing to do and has taken the processor from the sandbox that works on the answer: a fifth of
// what the server uses in a cell. An operator who knows better says so with GOMAXPROCS.
func leaveProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}

// options returns the server's options as far as the command line says them.
func (a *access) options(home string) (server.Options, error) {
	if err := a.check(); err != nil {
		return server.Options{}, err
	}
	o := server.Options{AuthOff: a.Auth == "off", Hosts: a.Host, Origins: a.Origin, InsecureHTTP: a.InsecureHTTP}
	if (a.TLSCert == "") != (a.TLSKey == "") {
		return o, errors.New("--tls-cert and --tls-key belong together")
	}
	if a.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(a.TLSCert, a.TLSKey)
		if err != nil {
			return o, fmt.Errorf("certificate: %w", err)
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	exposed := guard.Exposure{Addr: a.Listen, Auth: !o.AuthOff, TLS: o.TLS != nil, InsecureHTTP: o.InsecureHTTP}
	if err := guard.CheckExposure(exposed); err != nil {
		return o, err
	}
	if o.AuthOff {
		return o, nil
	}
	if err := makeHome(home); err != nil {
		return o, err
	}
	var err error
	o.Tokens, err = guard.LoadTokens(filepath.Join(home, tokenFile))
	return o, err
}

// greet tells a person how to begin. The token is shown here and nowhere else.
func (c *serveCmd) greet(t *terminal, addr net.Addr, tokens *guard.Tokens, home string) {
	at, others := reachable(addr, c.Listen)
	url := "http://" + at
	if c.TLSCert != "" {
		url = "https://" + at
	}
	fmt.Fprintf(t.out, "cellhold %s is ready.\n\n  URL    %s  (documentation: %s/docs)\n", version(), url, url)
	if others {
		_, port, _ := net.SplitHostPort(at)
		fmt.Fprintf(t.out, "         Other machines reach it by the names and addresses of this one, at port %s (--listen %s).\n", port, c.Listen)
	}
	auth := ""
	if tokens == nil {
		fmt.Fprintf(t.out, "  Token  none needed: every program on this machine may run code here\n")
	} else {
		_, token := tokens.First()
		fmt.Fprintf(t.out, "  Token  %s  (kept in %s)\n", token, filepath.Join(home, tokenFile))
		auth = fmt.Sprintf(" \\\n    -H 'Authorization: Bearer %s'", token)
	}
	fmt.Fprintf(t.out, `
Try it:

  curl %s/start_session%s -d user_id=me
  curl %s/execute%s \
    -H 'Content-Type: application/json' -d '{"user_id": "me", "code": "1 + 1"}'

Stop it with Ctrl-C; sessions stay alive for the next start.
`, url, auth, url, auth)
}
