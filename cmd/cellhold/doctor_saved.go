package main

import (
	"cellhold"
	"cellhold/internal/image"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
	"cellhold/internal/session/shelf"
	"cellhold/internal/template"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"
)

// lookAtSaved checks the snapshots in the home: those of sessions and those of templates.
func (c *doctorCmd) lookAtSaved(ctx context.Context, home string, log *slog.Logger) []finding {
	saved := finding{Finding: embedded.Finding{Name: "saved sessions"}, optional: true}
	driver, err := newDriver(home, home, true, log)
	if err != nil {
		saved.Detail, saved.Fix = err.Error(), "fix the start of sandboxes first, and run doctor as the user of the server"
		return []finding{saved}
	}
	defer driver.Close()
	return append([]finding{c.lookAtSessions(ctx, driver)}, c.lookAtTemplates(ctx, home, driver, log)...)
}

// lookAtSessions checks the snapshots of sessions: the space that they take, and whether they can be restored.
func (c *doctorCmd) lookAtSessions(ctx context.Context, driver sandbox.Driver) finding {
	f := finding{Finding: embedded.Finding{Name: "saved sessions"}, optional: true}
	have, err := shelf.New(driver, int64(c.MaxSnapshots)).Stock(ctx)
	if err != nil {
		f.Detail, f.Fix = plainly(err).Error(), "none needed; without snapshots, sessions cannot be hibernated, forked or rolled back"
		return f
	}
	f.Detail = fmt.Sprintf("%d are saved and use %s of the limit of %s", have.Count, size(have.Bytes).rounded(), c.MaxSnapshots)
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

// lookAtTemplates checks the templates that serve would use with these settings.
func (c *doctorCmd) lookAtTemplates(ctx context.Context, home string, driver sandbox.Driver, log *slog.Logger) []finding {
	f := finding{Finding: embedded.Finding{Name: "templates"}, optional: true}
	if c.NoTemplates {
		f.OK, f.Detail = true, "disabled by --no-templates; every session starts cold"
		return []finding{f}
	}
	templates, err := c.openTemplates(home, driver, log)
	if err != nil {
		f.Detail, f.Fix = plainly(err).Error(), "correct this setting; cellhold config prints all settings"
		return []finding{f}
	}
	if templates == nil {
		f.Detail, f.Fix = "this host cannot save sandboxes; every session starts cold", "none needed; sessions only start more slowly"
		return []finding{f}
	}
	outdated, err := templates.Look(ctx)
	if err != nil {
		f.Detail, f.Fix = plainly(err).Error(), "run doctor as the user of the server"
		return []finding{f}
	}
	var all []finding
	for _, t := range templates.List() {
		all = append(all, c.judgeTemplate(t, outdated[t.Name], time.Now()))
	}
	return all
}

func (c *doctorCmd) openTemplates(home string, driver sandbox.Driver, log *slog.Logger) (*template.Templates, error) {
	store, err := openImages(home, log, nil)
	if err != nil {
		return nil, err
	}
	img, err := store.Resolve(c.Image)
	if err != nil {
		img = image.Image{} // the finding "image" reports it
	}
	installer, err := c.packaging.open(img, log)
	if err != nil {
		return nil, err
	}
	data, err := c.dataFolder(home)
	if err != nil {
		return nil, err
	}
	return c.warming.open(&c.service, &c.lifetimes, driver, newImages(store), installer, data, log)
}

// judgeTemplate returns the finding about one template. outdated is the reason why its snapshot cannot be used, or
// empty.
func (c *doctorCmd) judgeTemplate(t cellhold.Template, outdated string, now time.Time) finding {
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
		f.Detail = fmt.Sprintf("the snapshot has %s and is %s old", size(t.Size).rounded(), age)
	}
	return f
}
