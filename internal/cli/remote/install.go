package remote

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// InstallCmd installs packages in a session of a server.
type InstallCmd struct {
	printing `embed:""`

	Session     cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Package     []string           `arg:"" optional:"" help:"Packages to install, such as tabulate>=0.9." sep:"none"`
	Requirement string             `short:"r" help:"Requirements file, such as a lock. - reads the standard input." placeholder:"FILE" predictor:"file"`
	Remove      bool               `help:"Remove the packages instead."`
	Lock        bool               `help:"Afterwards, print a lock of the packages that were installed in the session."`
}

// Run installs or removes packages and prints the changes.
func (c *InstallCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	if c.Remove && (c.Requirement != "" || len(c.Package) == 0) {
		return errors.New("--remove needs the names of packages, and cannot be combined with --requirement")
	}
	remote, out, err := c.open(all, t)
	if err != nil {
		return err
	}
	show := c.show(out, t)
	if c.Remove {
		for _, name := range c.Package {
			report, err := remote.RemovePackage(ctx, c.Session, name)
			if err == nil {
				err = show(report)
			}
			if err != nil {
				return err
			}
		}
	} else if len(c.Package) > 0 || c.Requirement != "" || !c.Lock {
		text, err := readRequirements(c.Requirement, t.In)
		if err != nil {
			return err
		}
		report, err := remote.Install(ctx, c.Session, client.InstallPackages{Requirements: c.Package, File: text})
		if err == nil {
			err = show(report)
		}
		if err != nil {
			return err
		}
	}
	if !c.Lock {
		return nil
	}
	lock, err := remote.Lock(ctx, c.Session)
	if err != nil {
		return err
	}
	if out.JSON {
		return out.Line(lockFile{lock})
	}
	_, err = io.WriteString(t.Out, lock)
	return err
}

// show returns a function that prints an installation. With --json, each one is a line of the output, because several
// packages can be removed, and a lock can follow.
func (c *InstallCmd) show(out console.Printer, t *console.Terminal) func(cellhold.Installation) error {
	return func(report cellhold.Installation) error {
		switch {
		case out.JSON:
			return out.Line(report)
		case !out.Quiet:
			showInstallation(t.Err, report)
		}
		return nil
	}
}

// readRequirements reads a requirements file. An empty name gives an empty text.
func readRequirements(file string, in io.Reader) (string, error) {
	switch file {
	case "":
		return "", nil
	case "-":
		text, err := io.ReadAll(in)
		return string(text), err
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

// showInstallation prints each change and each warning on its own line.
func showInstallation(w io.Writer, r cellhold.Installation) {
	for _, c := range r.Changes {
		switch {
		case c.Before == "":
			fmt.Fprintf(w, "+ %s %s\n", console.Printable(c.Name), console.Printable(c.After))
		case c.After == "":
			fmt.Fprintf(w, "- %s %s\n", console.Printable(c.Name), console.Printable(c.Before))
		default:
			fmt.Fprintf(w, "~ %s %s -> %s\n", console.Printable(c.Name), console.Printable(c.Before), console.Printable(c.After))
		}
	}
	if len(r.Changes) == 0 {
		fmt.Fprintln(w, "all packages are installed already")
	}
	for _, warning := range r.Warnings {
		fmt.Fprintln(w, "! "+strings.TrimSpace(console.Printable(warning)))
	}
}
