package remote

import (
	"cellhold/internal/cli/console"
	"cmp"
	"context"
	"fmt"
)

// TemplateCmd holds the commands for the templates of a server.
type TemplateCmd struct {
	printing `embed:""`

	Ls templateLsCmd `cmd:"" help:"List the templates, the default first."`
}

type templateLsCmd struct{}

// Run lists templates.
func (templateLsCmd) Run(ctx context.Context, parent *TemplateCmd, all *console.Globals, t *console.Terminal) error {
	c, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	templates, err := c.Templates(ctx)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, x := range templates {
		size := ""
		if !x.Built.IsZero() {
			size = console.Size(x.Size).Rounded()
		}
		// An older server does not report Wanted.
		rows = append(rows, []string{x.Name, x.Image, string(x.State), fmt.Sprintf("%d/%d", x.Ready, cmp.Or(x.Wanted, x.Warm)), console.Clock(x.Built), size, x.Problem})
	}
	return out.Table(templates, "NAME IMAGE STATE READY BUILT SIZE PROBLEM", rows)
}
