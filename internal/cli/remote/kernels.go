package remote

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"context"
	"strconv"
)

// KernelCmd holds the commands for the kernels of a session.
type KernelCmd struct {
	printing `embed:""`

	Ls        kernelLsCmd        `cmd:"" help:"List the kernels of a session."`
	Specs     kernelSpecsCmd     `cmd:"" help:"List the kernelspecs that a session can start."`
	Add       kernelAddCmd       `cmd:"" help:"Start another kernel, and print its id."`
	Rm        kernelRmCmd        `cmd:"" help:"End a kernel, even a busy one."`
	Interrupt kernelInterruptCmd `cmd:"" help:"Interrupt the running cell of a kernel."`
	Restart   kernelRestartCmd   `cmd:"" help:"Restart a kernel. Its variables are lost."`
}

type kernelLsCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
}

// Run lists kernels.
func (c *kernelLsCmd) Run(ctx context.Context, parent *KernelCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	list, err := remote.Kernels(ctx, c.Session)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, k := range list {
		state := string(k.State)
		if k.Cause != "" {
			state += " (" + string(k.Cause) + ")"
		}
		rows = append(rows, []string{string(k.ID), k.Spec, k.Language, state, strconv.Itoa(k.Queued)})
	}
	return out.Table(list, "ID SPEC LANGUAGE STATE QUEUED", rows)
}

type kernelSpecsCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
}

// Run lists kernelspecs.
func (c *kernelSpecsCmd) Run(ctx context.Context, parent *KernelCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	list, err := remote.KernelSpecs(ctx, c.Session)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{s.Name, s.Language, s.DisplayName})
	}
	return out.Table(list, "NAME LANGUAGE TITLE", rows)
}

type kernelAddCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Spec    string             `arg:"" help:"Name of the kernelspec, such as bash."`
	ID      cellhold.KernelID  `help:"Id of the kernel. Default: made from the kernelspec's name." placeholder:"ID"`
	Cwd     string             `help:"Working directory of the kernel. Default: that of the session." short:"w" placeholder:"DIR"`
}

// Run starts a kernel and returns when it is idle.
func (c *kernelAddCmd) Run(ctx context.Context, parent *KernelCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	k, err := remote.AddKernelIn(ctx, c.Session, c.Spec, c.ID, c.Cwd)
	if err != nil {
		return err
	}
	return out.Result(k, string(k.ID))
}

type kernelRmCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Kernel  cellhold.KernelID  `arg:"" help:"Kernel id."`
}

// Run ends a kernel.
func (c *kernelRmCmd) Run(ctx context.Context, parent *KernelCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	if err := remote.DeleteKernel(ctx, c.Session, c.Kernel); err != nil {
		return err
	}
	return out.Result(named{string(c.Kernel)}, string(c.Kernel))
}

// named is the JSON of a thing that was ended or removed.
type named struct {
	ID string `json:"id"`
}

// oneKernel names a kernel of a session, by default the first one.
type oneKernel struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Kernel  cellhold.KernelID  `arg:"" optional:"" help:"Kernel id. Default: the first kernel of the session."`
}

type kernelInterruptCmd struct {
	oneKernel `embed:""`
	Cell      cellhold.CellID `help:"Interrupt only this cell, if it runs." placeholder:"ID"`
}

// Run interrupts a kernel.
func (c *kernelInterruptCmd) Run(ctx context.Context, parent *KernelCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	if c.Cell != "" {
		err = remote.InterruptCell(ctx, c.Session, c.Kernel, c.Cell)
	} else {
		err = remote.Interrupt(ctx, c.Session, c.Kernel)
	}
	if err != nil {
		return err
	}
	return out.Report(named{string(c.Session)}, "session %s: interrupted", c.Session)
}

type kernelRestartCmd struct {
	oneKernel `embed:""`
}

// Run restarts a kernel and returns when it is idle.
func (c *kernelRestartCmd) Run(ctx context.Context, parent *KernelCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	s, err := remote.Restart(ctx, c.Session, c.Kernel)
	if err != nil {
		return err
	}
	return out.Report(s, "session %s: kernels: %s", s.ID, kernelStates(s))
}
