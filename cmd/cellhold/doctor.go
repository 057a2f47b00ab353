package main

import (
	"cellhold/internal/sandbox/embedded"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// doctorCmd looks at the host, with the settings that serve would have.
type doctorCmd struct {
	service   `embed:""`
	lifetimes `embed:""`
	Listen    string `help:"Address that serve would listen on." default:"127.0.0.1:5002"`
}

// finding is one thing that was looked at.
type finding struct {
	embedded.Finding
	optional bool // the service works without it, though less well
}

// optional names what the embedded driver can do without.
var optional = map[string]bool{"user": true, "cgroups": true, "disk": true, "room for snapshots": true, "a sandbox can be saved": true}

// Run prints what was found, and ends with status 1 if something needed is missing.
func (c *doctorCmd) Run(ctx context.Context, all *cli, t *terminal) error {
	missing := false
	for _, f := range c.look(ctx, all.Home) {
		mark := "ok     "
		switch {
		case !f.OK && f.optional:
			mark = "note   "
		case !f.OK:
			mark, missing = "MISSING", true
		}
		fmt.Fprintf(t.out, "%s  %s: %s\n", mark, f.Name, f.Detail)
		if !f.OK && f.Mend != "" {
			fmt.Fprintf(t.out, "         mend it: %s\n", f.Mend)
		}
	}
	if missing {
		return exitError(exitFailed)
	}
	_, err := fmt.Fprintln(t.out, "\nThis host can run cellhold.")
	return err
}

// look collects the findings.
func (c *doctorCmd) look(ctx context.Context, home string) []finding {
	quiet := slog.New(slog.DiscardHandler)
	if f := lookAtHome(home); !f.OK { // all else would fail for this reason, in words of its own
		return []finding{f, lookAtTools(false), c.lookAtAddress()}
	}
	var all []finding
	if o, err := embeddedOptions(home, home, quiet); err != nil {
		all = append(all, finding{Finding: embedded.Finding{Name: "this binary", Detail: err.Error(), Mend: "make build"}})
	} else {
		for _, f := range embedded.Check(ctx, o) {
			all = append(all, finding{f, optional[f.Name]})
		}
	}
	image := c.lookAtImage(home, quiet)
	all = append(all, c.lookAtSaved(ctx, home, quiet)...)
	return append(all, image, lookAtTools(image.OK), c.lookAtAddress())
}

// lookAtHome tries whether things can be kept in the home.
func lookAtHome(home string) finding {
	f := finding{Finding: embedded.Finding{Name: "home", OK: true}}
	err := makeHome(home)
	if err == nil {
		var file *os.File
		if file, err = os.CreateTemp(home, ".doctor-"); err == nil {
			err = errors.Join(file.Close(), os.Remove(file.Name()))
		}
	}
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		f.OK, f.Detail = false, fmt.Sprintf("nothing can be kept in %s: %v", home, err)
		f.Mend = "name a folder where this user may write, with --home, or be the user to whom this one belongs"
	}
	return f
}

func (c *doctorCmd) lookAtImage(home string, log *slog.Logger) finding {
	f := finding{Finding: embedded.Finding{Name: "image", OK: true, Detail: c.Image + " is there"}}
	store, err := openImages(home, log, nil)
	if err == nil {
		_, err = (imageFinder{store}).Resolve(c.Image)
	}
	if err != nil {
		f.OK, f.Detail, f.Mend = false, plainly(err).Error(), "cellhold image build"
	}
	return f
}

// lookAtTools looks for what `image build` needs, which who has an image does not.
func lookAtTools(haveImage bool) finding {
	f := finding{Finding: embedded.Finding{Name: "tools to build images", OK: true, Detail: "all are there"}, optional: haveImage}
	needed := []string{"mmdebstrap", "unshare"}
	if os.Geteuid() != 0 {
		needed = append(needed, "newuidmap")
	}
	missing := slices.DeleteFunc(needed, func(tool string) bool {
		_, err := exec.LookPath(tool)
		return err == nil
	})
	if len(missing) > 0 {
		f.OK, f.Detail = false, "missing: "+strings.Join(missing, ", ")
		f.Mend = "apt-get install mmdebstrap util-linux uidmap"
	}
	return f
}

func (c *doctorCmd) lookAtAddress() finding {
	f := finding{Finding: embedded.Finding{Name: "address", OK: true, Detail: c.Listen + " is free"}, optional: true}
	listener, err := net.Listen(network(c.Listen), c.Listen)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		f.OK, f.Detail = false, fmt.Sprintf("%s cannot be listened on: %v", c.Listen, err)
		f.Mend = "nothing, if cellhold serve runs already; else give serve another address with --listen"
		return f
	}
	listener.Close()
	return f
}
