package mcp

import (
	"context"
	"iter"
	"strings"

	"cellhold"
	"cellhold/client"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// InstallPackages is the argument of install_packages.
type InstallPackages struct {
	Packages []string `json:"packages"`
	ID       string   `json:"session_id,omitempty"`
}

func (c call) install(ctx context.Context, in InstallPackages) (*sdk.CallToolResult, error) {
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	none := func(context.Context) iter.Seq2[cellhold.Event, error] {
		return func(func(cellhold.Event, error) bool) {}
	}
	stop := c.report(ctx, none, func(cellhold.Event) bool { return false })
	defer stop()
	report, err := c.caller.Client.Install(ctx, id, client.InstallPackages{Requirements: in.Packages})
	if err != nil {
		return nil, err
	}
	r := &result{}
	r.add(note)
	for _, p := range report.Changes {
		switch {
		case p.Before == "":
			r.line("+ %s %s", shown(p.Name), shown(p.After))
		case p.After == "":
			r.line("- %s %s", shown(p.Name), shown(p.Before))
		default:
			r.line("~ %s %s, before %s", shown(p.Name), shown(p.After), shown(p.Before))
		}
	}
	if len(report.Changes) == 0 {
		r.line("All packages were installed before.")
	}
	if len(report.Imports) > 0 {
		r.line("Import: %s", shown(strings.Join(report.Imports, ", ")))
	}
	for _, w := range report.Warnings {
		r.line("Warning: %s", shown(w))
	}
	for _, m := range report.Stale {
		r.line("Kernel %s has an old version of %s in memory. Call restart to use the new one.", shown(string(m.Kernel)), shown(m.Module))
	}
	r.line("[session %s]", id)
	return say("%s", shorten(r.text.String(), maxText, "The middle is omitted.")), nil
}
