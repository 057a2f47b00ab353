package main

import (
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"
	"time"
)

// templateCmd holds the commands for the templates of a server.
type templateCmd struct {
	serverFlags `embed:""`

	Ls templateLsCmd `cmd:"" help:"List the templates, the default first."`
}

type templateLsCmd struct{}

// Run lists templates.
func (templateLsCmd) Run(ctx context.Context, parent *templateCmd, all *globals, t *terminal) error {
	c, err := parent.connect(all.Home)
	if err != nil {
		return err
	}
	templates, err := c.Templates(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(t.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tIMAGE\tSTATE\tREADY\tBUILT\tSIZE\tPROBLEM")
	for _, x := range templates {
		built, on := "-", "-"
		if !x.Built.IsZero() {
			built, on = x.Built.Local().Format(time.DateTime), size(x.Size).rounded()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d/%d\t%s\t%s\t%s\n", x.Name, printable(x.Image), x.State, x.Ready, x.Warm, built, on, cmp.Or(printable(x.Problem), "-"))
	}
	return table.Flush()
}
