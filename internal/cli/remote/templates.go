package remote

import (
	"cellhold/internal/cli/console"
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"
	"time"
)

// TemplateCmd holds the commands for the templates of a server.
type TemplateCmd struct {
	serverFlags `embed:""`

	Ls templateLsCmd `cmd:"" help:"List the templates, the default first."`
}

type templateLsCmd struct{}

// Run lists templates.
func (templateLsCmd) Run(ctx context.Context, parent *TemplateCmd, all *console.Globals, t *console.Terminal) error {
	c, err := parent.connect(all.Home)
	if err != nil {
		return err
	}
	templates, err := c.Templates(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(t.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tIMAGE\tSTATE\tREADY\tBUILT\tSIZE\tPROBLEM")
	for _, x := range templates {
		built, on := "-", "-"
		if !x.Built.IsZero() {
			built, on = x.Built.Local().Format(time.DateTime), console.Size(x.Size).Rounded()
		}
		// An older server does not report Wanted.
		fmt.Fprintf(table, "%s\t%s\t%s\t%d/%d\t%s\t%s\t%s\n", x.Name, console.Printable(x.Image), x.State, x.Ready, cmp.Or(x.Wanted, x.Warm), built, on, cmp.Or(console.Printable(x.Problem), "-"))
	}
	return table.Flush()
}
