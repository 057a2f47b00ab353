package doctor

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/setup"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
	"cellhold/internal/session/snapshots"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"
)

// checkSaved checks the snapshots in the home: those of sessions and those of templates.
func (c *Cmd) checkSaved(ctx context.Context, home string, log *slog.Logger) []finding {
	saved := finding{Finding: embedded.Finding{Name: "saved sessions"}, optional: true}
	driver, err := setup.NewDriver(home, home, true, log)
	if err != nil {
		saved.Detail, saved.Fix = err.Error(), "fix the start of sandboxes first, and run doctor as the user of the server"
		return []finding{saved}
	}
	defer driver.Close()
	return append([]finding{c.checkSessions(ctx, driver)}, c.checkTemplates(ctx, home, driver, log)...)
}

// checkSessions checks the snapshots of sessions: the space that they take, and whether they can be restored.
func (c *Cmd) checkSessions(ctx context.Context, driver sandbox.Driver) finding {
	f := finding{Finding: embedded.Finding{Name: "saved sessions"}, optional: true}
	have, err := snapshots.New(driver, int64(c.MaxSnapshots)).Stock(ctx)
	if err != nil {
		f.Detail, f.Fix = console.Message(err).Error(), "none needed; without snapshots, sessions cannot be hibernated, forked or rolled back"
		return f
	}
	f.Detail = fmt.Sprintf("%d are saved and use %s of the limit of %s", have.Count, console.Size(have.Bytes).Rounded(), c.MaxSnapshots)
	switch {
	case have.Stale > 0:
		f.Detail += fmt.Sprintf("; %d of them cannot be restored by this version or on this host", have.Stale)
		f.Fix = "restart the kernels of these sessions (variables are lost), and delete these checkpoints: cellhold session checkpoint --rm ID NAME"
	case have.Bytes+int64(c.Memory) > int64(c.MaxSnapshots):
		f.Fix = "end sessions with cellhold session rm ID, delete checkpoints with cellhold session checkpoint --rm ID NAME, or raise --max-snapshots"
	default:
		f.OK = true
	}
	return f
}

// checkTemplates checks the templates that serve would use with these settings.
func (c *Cmd) checkTemplates(ctx context.Context, home string, driver sandbox.Driver, log *slog.Logger) []finding {
	f := finding{Finding: embedded.Finding{Name: "templates"}, optional: true}
	if c.NoTemplates {
		f.OK, f.Detail = true, "disabled by --no-templates; every session starts cold"
		return []finding{f}
	}
	templates, err := c.OpenTemplates(&c.ServerSettings, home, driver, log)
	if err != nil {
		f.Detail, f.Fix = console.Message(err).Error(), "correct this setting; cellhold config prints all settings"
		return []finding{f}
	}
	if templates == nil {
		f.Detail, f.Fix = "this host cannot save sandboxes; every session starts cold", "none needed; sessions only start more slowly"
		return []finding{f}
	}
	outdated, err := templates.Look(ctx)
	if err != nil {
		f.Detail, f.Fix = console.Message(err).Error(), "run doctor as the user of the server"
		return []finding{f}
	}
	var all []finding
	for _, t := range templates.List() {
		all = append(all, c.judgeTemplate(t, outdated[t.Name], time.Now()))
	}
	return all
}

// judgeTemplate returns the finding about one template. outdated is the reason why its snapshot cannot be used, or
// empty.
func (c *Cmd) judgeTemplate(t cellhold.Template, outdated string, now time.Time) finding {
	const renew = "run cellhold serve, which builds a snapshot in the background; if it is running, cellhold template ls prints the problem"
	f := finding{Finding: embedded.Finding{Name: "template " + t.Name, Fix: renew}, optional: true}
	age, due := now.Sub(t.Built).Round(time.Minute), cmp.Or(c.TemplateRefresh, 24*time.Hour) // package template reads 0 as 24 hours
	switch {
	case outdated != "":
		f.Detail = "the snapshot is outdated (" + outdated + "); its sessions start cold"
	case t.State != cellhold.TemplateReady:
		f.Detail = "there is no snapshot yet; its sessions start cold"
	case age > due:
		f.Detail = fmt.Sprintf("the snapshot is %s old and is due to be rebuilt after %s", age, due)
	default:
		f.OK, f.Fix = true, ""
		f.Detail = fmt.Sprintf("the snapshot has %s and is %s old", console.Size(t.Size).Rounded(), age)
	}
	return f
}
