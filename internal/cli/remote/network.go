package remote

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// PackageCmd holds the commands for the packages of a session. InstallCmd installs them.
type PackageCmd struct {
	printing `embed:""`

	Ls   packageLsCmd   `cmd:"" help:"List the packages of a session that differ from its image."`
	Lock packageLockCmd `cmd:"" help:"Print the installed packages as a requirements file with hashes."`
	Rm   packageRmCmd   `cmd:"" help:"Remove packages."`
}

type packageLsCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
}

// Run lists packages.
func (c *packageLsCmd) Run(ctx context.Context, parent *PackageCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	list, err := remote.Packages(ctx, c.Session)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, p := range list {
		rows = append(rows, []string{p.Name, p.Version, p.SHA256})
	}
	return out.Table(list, "NAME VERSION SHA256", rows)
}

type packageLockCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
}

// Run prints the lock.
func (c *packageLockCmd) Run(ctx context.Context, parent *PackageCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	lock, err := remote.Lock(ctx, c.Session)
	if err != nil {
		return err
	}
	if out.JSON {
		return out.Document(lockFile{lock})
	}
	return shown(t, t.Out, func(w io.Writer) error { _, err := io.WriteString(w, lock); return err })
}

// lockFile is the JSON of a lock.
type lockFile struct {
	Lock string `json:"lock"`
}

type packageRmCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Name    []string           `arg:"" help:"Names of the packages." sep:"none"`
}

// Run removes packages.
func (c *packageRmCmd) Run(ctx context.Context, parent *PackageCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	return eachOf(out, "package", c.Name, func(name string) (any, error) { return remote.RemovePackage(ctx, c.Session, name) })
}

// EgressCmd holds the commands for the network access of a session.
type EgressCmd struct {
	printing `embed:""`

	Ls egressLsCmd `cmd:"" help:"List the connection attempts of a session, the oldest first."`
}

type egressLsCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
}

// Run lists attempts.
func (c *egressLsCmd) Run(ctx context.Context, parent *EgressCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	list, err := remote.Attempts(ctx, c.Session)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, a := range list {
		rows = append(rows, []string{a.ID, console.Clock(a.Time), fmt.Sprintf("%s:%d", a.Host, a.Port), string(a.Decision),
			strconv.FormatInt(a.Sent, 10), strconv.FormatInt(a.Received, 10), a.Reason})
	}
	return out.Table(list, "ID TIME HOST DECISION SENT RECEIVED REASON", rows)
}

// PortCmd holds the commands for programs of a session that listen on a port.
type PortCmd struct {
	printing `embed:""`

	Show    portShowCmd    `cmd:"" help:"Print how other programs reach the ports of a session. The token in it opens them."`
	Request portRequestCmd `cmd:"" help:"Send an HTTP request to a port of a session, and print the answer."`
}

type portShowCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
}

// Run prints the access to ports.
func (c *portShowCmd) Run(ctx context.Context, parent *PortCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	p, err := remote.Ports(ctx, c.Session)
	if err != nil {
		return err
	}
	return out.Object(p, p.Path, []console.Field{{Name: "path", Value: p.Path}, {Name: "hosts", Value: strings.Join(p.Hosts, ", ")},
		{Name: "public", Value: strconv.FormatBool(p.Public)}, {Name: "header", Value: p.Header}, {Name: "token", Value: p.Token}})
}

type portRequestCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Port    int                `arg:"" help:"Port on which the program listens on the loopback of the sandbox."`
	Path    string             `arg:"" optional:"" help:"Path of the request, percent-encoded. It can have a query." default:"/"`
	Method  string             `help:"Method of the request." short:"X" default:"GET" placeholder:"NAME"`
	Header  []string           `help:"Header of the request; can be repeated." short:"H" placeholder:"NAME:VALUE" sep:"none"`
	Data    string             `help:"Body of the request. - reads the standard input." short:"d" placeholder:"TEXT"`
}

// Help returns the text below the list of flags.
func (portRequestCmd) Help() string {
	return "The answer comes from code in the sandbox. The exit status is 1 if its HTTP status is 400 or more."
}

// Run sends the request and prints the body of the answer.
func (c *portRequestCmd) Run(ctx context.Context, parent *PortCmd, all *console.Globals, t *console.Terminal) error {
	remote, _, err := parent.open(all, t)
	if err != nil {
		return err
	}
	r := client.PortRequest{Method: c.Method, Port: c.Port, Path: c.Path, Header: http.Header{}}
	for _, h := range c.Header {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return console.Usage(errors.New("--header: write a name, a colon and a value"))
		}
		r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	switch {
	case c.Data == "-" && t.In != nil:
		r.Body = t.In
	case c.Data != "" && c.Data != "-":
		r.Body = strings.NewReader(c.Data)
	}
	res, err := remote.UsePort(ctx, c.Session, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := shown(t, t.Out, func(w io.Writer) error { _, err := io.Copy(w, res.Body); return err }); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The answer of port %d is incomplete: the connection broke.", c.Port)
	}
	if res.StatusCode >= http.StatusBadRequest {
		fmt.Fprintf(t.Err, "cellhold: the program answered with status %s\n", console.Printable(res.Status))
		return console.ExitError(console.ExitFailed)
	}
	return nil
}
