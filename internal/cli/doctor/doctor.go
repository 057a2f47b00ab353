// Package doctor checks a host for `cellhold doctor`, and says how to fix each problem.
//
// It checks what serve would use with the same settings. It creates the home and the folders in it, as serve would. It
// stores the guest's binary there, and the runner, which is the program that runs gVisor. It also creates a tiny
// sandbox, saves it, and restores it in a second one. At the end it removes both sandboxes and the snapshot. It changes
// no session and no other snapshot.
package doctor

import (
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/setup"
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
	"syscall"
)

// Cmd checks the host with the settings that serve would use.
type Cmd struct {
	setup.Settings       `embed:""`
	setup.ServerSettings `embed:""`
	console.Format       `embed:""`
	Listen               string `help:"Address to check: the one that serve would listen on." default:"127.0.0.1:5002"`
}

// finding is the result of one check.
type finding struct {
	embedded.Finding
	optional bool // the server works without it, with fewer features
}

// optional names the findings of the embedded driver that are not required.
var optional = map[string]bool{"user": true, "cgroups": true, "disk": true, "space for snapshots": true, "a sandbox can be saved": true}

// Run prints the findings. The exit status is 1 if something required is missing.
func (c *Cmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	c.Take(all, t)
	missing := false
	checks := []check{}
	for _, f := range c.findings(ctx, all.Home) {
		if missing = missing || !f.OK && !f.optional; c.JSON {
			checks = append(checks, check{f.Name, f.OK, !f.optional, f.Detail, f.Fix})
			continue
		}
		if f.OK && c.Quiet {
			continue
		}
		mark := "ok     "
		switch {
		case !f.OK && f.optional:
			mark = "note   "
		case !f.OK:
			mark = "MISSING"
		}
		fmt.Fprintf(t.Out, "%s  %s: %s\n", mark, f.Name, f.Detail)
		if !f.OK && f.Fix != "" {
			fmt.Fprintf(t.Out, "         fix: %s\n", f.Fix)
		}
	}
	var err error
	switch {
	case c.JSON:
		err = console.Printer{Out: t.Out}.Document(checks)
	case !missing && !c.Quiet:
		_, err = fmt.Fprintln(t.Out, "\nThis host can run cellhold.")
	}
	if missing && err == nil {
		return console.ExitError(console.ExitFailed)
	}
	return err
}

// check is the JSON of a finding.
type check struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"`
	Detail   string `json:"detail"`
	Fix      string `json:"fix,omitempty"`
}

// findings runs the checks and returns their findings.
func (c *Cmd) findings(ctx context.Context, home string) []finding {
	quiet := slog.New(slog.DiscardHandler)
	if f := checkHome(home); !f.OK { // the checks of sandboxes, images and snapshots would fail for the same reason
		return []finding{f, checkTools(false), c.checkAddress()}
	}
	var all []finding
	if o, err := setup.EmbeddedOptions(home, home, quiet); err != nil {
		all = append(all, programsFinding(err))
	} else {
		o.AcceptUnenforced = c.AcceptMissingLimits // as serve would
		for _, f := range embedded.Check(ctx, o) {
			all = append(all, finding{f, optional[f.Name]})
		}
	}
	image := c.checkImage(home, quiet)
	all = append(all, c.checkSaved(ctx, home, quiet)...)
	return append(all, image, checkTools(image.OK), c.checkAddress())
}

// programsFinding returns the finding for an error of the guest's binary or the runner: this binary lacks them, or the home
// cannot hold them.
func programsFinding(err error) finding {
	f := finding{Finding: embedded.Finding{Name: "programs in the home", Detail: err.Error(), Fix: "correct this in the home, or give another one with --home"}}
	switch {
	case setup.IsIncomplete(err):
		f.Name, f.Fix = "this binary", "make build"
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		f.Fix = "free disk space, or move the home to a disk with 100 MB free"
	}
	return f
}

// checkHome checks that files can be written in the home.
func checkHome(home string) finding {
	f := finding{Finding: embedded.Finding{Name: "home", OK: true}}
	err := setup.PrepareHome(home)
	if err == nil { // also finds a full disk
		var file *os.File
		if file, err = os.CreateTemp(home, ".doctor-"); err == nil {
			err = errors.Join(file.Close(), os.Remove(file.Name()))
		}
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = &setup.HomeError{Home: home, Err: e.Err}
	}
	if e, ok := errors.AsType[*setup.HomeError](err); ok {
		f.OK, f.Detail, f.Fix = false, e.Detail(), setup.HomeRemedy
	}
	return f
}

func (c *Cmd) checkImage(home string, log *slog.Logger) finding {
	f := finding{Finding: embedded.Finding{Name: "image", OK: true, Detail: c.Image + " exists"}}
	store, err := setup.OpenImages(home, c.ImagesIn(home), log, nil)
	if err == nil {
		_, err = (setup.ImageFinder{Images: store}).Resolve(c.Image)
	}
	if err != nil {
		f.OK, f.Detail, f.Fix = false, console.Message(err).Error(), "cellhold image build"
	}
	return f
}

// checkTools checks for the programs that `image build` needs. They are optional if there is an image already.
func checkTools(haveImage bool) finding {
	f := finding{Finding: embedded.Finding{Name: "tools to build images", OK: true, Detail: "all are installed"}, optional: haveImage}
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
		f.Fix = "apt-get install mmdebstrap util-linux uidmap"
	}
	return f
}

func (c *Cmd) checkAddress() finding {
	f := finding{Finding: embedded.Finding{Name: "address", OK: true, Detail: c.Listen + " is free"}, optional: true}
	listener, err := net.Listen(setup.Network(c.Listen), c.Listen)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		f.OK, f.Detail = false, fmt.Sprintf("cannot listen on %s: %v", c.Listen, err)
		f.Fix = "none if cellhold serve is running; otherwise choose another address with --listen"
		return f
	}
	listener.Close()
	return f
}
