// Package remote contains the commands that use a server. Each noun of the HTTP API is a command, such as session, cell and
// file, with the verbs ls, show, rm and others.
//
// It starts no server and no sandbox. Each command talks to a server through package client.
package remote

import (
	"cellhold/client"
	"cellhold/internal/cli/console"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// TokenFile is the file of tokens in a home.
const TokenFile = "token"

// serverFlags are the flags of a command that uses a server.
type serverFlags struct {
	URL   string `help:"URL of the server." default:"http://127.0.0.1:5002" name:"url" placeholder:"URL"`
	Token string `help:"Token for the server. Default: the first token in the home." secret:"" placeholder:"TOKEN"`
}

// printing are the flags of commands that use a server and print what it answers.
type printing struct {
	serverFlags    `embed:""`
	console.Format `embed:""`
}

// open returns a client of the server, and a printer for its answers.
func (f *printing) open(all *console.Globals, t *console.Terminal) (*client.Client, console.Printer, error) {
	c, err := f.connect(all.Home)
	return c, console.Printer{Format: f.Format, Out: t.Out}, err
}

// connect returns a client of the server.
func (f *serverFlags) connect(home string) (*client.Client, error) {
	return NewClient(f.URL, f.Token, home)
}

// NewClient returns a client of the server at address. Without a token it uses the first token in the home, which is the
// right one for a server on this machine. A server elsewhere never gets it.
func NewClient(address, token, home string) (*client.Client, error) {
	if token == "" {
		var err error
		if token, err = homeToken(address, filepath.Join(home, TokenFile)); err != nil {
			return nil, err
		}
	}
	return client.New(client.Options{URL: address, Token: token})
}

// homeToken returns the first token of a file, or "" if there is no file.
func homeToken(address, file string) (string, error) {
	if _, err := os.Lstat(file); errors.Is(err, os.ErrNotExist) {
		return "", nil // the server can be open to everybody
	}
	if u, err := url.Parse(address); err == nil && u.Host != "" && !onThisMachine(u.Hostname()) {
		return "", console.Usage(fmt.Errorf("server %s: there is no token for it, and the token in %s is for a server on this machine; set CELLHOLD_TOKEN, or use --token", u.Host, file))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 2 && !strings.HasPrefix(line, "#") {
			return fields[1], nil
		}
	}
	return "", nil
}

// onThisMachine reports whether a host of a URL is a loopback address. Other names of this machine cannot be trusted.
func onThisMachine(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}
