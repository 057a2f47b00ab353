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

// lookAtSaved looks at what is saved in the home: of sessions, and what sessions start from.
func (c *doctorCmd) lookAtSaved(ctx context.Context, home string, log *slog.Logger) []finding {
	saved := finding{Finding: embedded.Finding{Name: "saved sessions"}, optional: true}
	driver, err := newDriver(home, home, true, log)
	if err != nil {
		saved.Detail, saved.Mend = err.Error(), "mend that a sandbox starts, and look as the user that the server runs as"
		return []finding{saved}
	}
	defer driver.Close()
	return append([]finding{c.lookAtSessions(ctx, driver)}, c.lookAtTemplates(ctx, home, driver, log)...)
}

// lookAtSessions looks at saved states of sessions: how much room they take, and whether they are still good.
func (c *doctorCmd) lookAtSessions(ctx context.Context, driver sandbox.Driver) finding {
	f := finding{Finding: embedded.Finding{Name: "saved sessions"}, optional: true}
	have, err := shelf.New(driver, int64(c.MaxSnapshots)).Stock(ctx)
	if err != nil {
		f.Detail, f.Mend = plainly(err).Error(), "without it sessions do not sleep, and cannot be forked or go back"
		return f
	}
	f.Detail = fmt.Sprintf("%d are saved and take %s of the %s that they may take", have.Count, size(have.Bytes).rounded(), c.MaxSnapshots)
	switch {
	case have.Stale > 0:
		f.Detail += fmt.Sprintf("; of them %d fit this version or this host no more", have.Stale)
		f.Mend = "restart the kernels of such sessions, which lose their variables, and delete such checkpoints: cellhold session checkpoint --rm ID NAME"
	case have.Bytes+int64(c.Memory) > int64(c.MaxSnapshots):
		f.Mend = "end sessions with cellhold session rm ID, delete checkpoints with cellhold session checkpoint --rm ID NAME, or raise --max-snapshots"
	default:
		f.OK = true
	}
	return f
}

// lookAtTemplates looks at what sessions start from, as serve would with these settings.
func (c *doctorCmd) lookAtTemplates(ctx context.Context, home string, driver sandbox.Driver, log *slog.Logger) []finding {
	f := finding{Finding: embedded.Finding{Name: "templates"}, optional: true}
	if c.NoTemplates {
		f.OK, f.Detail = true, "none are wanted, so every session starts cold"
		return []finding{f}
	}
	templates, err := c.openTemplates(home, driver, log)
	if err != nil {
		f.Detail, f.Mend = plainly(err).Error(), "correct that setting; see cellhold config"
		return []finding{f}
	}
	if templates == nil {
		f.Detail, f.Mend = "sandboxes cannot be saved here, so every session starts cold", "nothing, if that is enough"
		return []finding{f}
	}
	outdated, err := templates.Look(ctx)
	if err != nil {
		f.Detail, f.Mend = plainly(err).Error(), "look as the user that the server runs as"
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
		img = image.Image{} // another finding says so
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

// judgeTemplate says how one template is. outdated is what is the matter with the snapshot that it has, if that
// is of no use.
func (c *doctorCmd) judgeTemplate(t cellhold.Template, outdated string, now time.Time) finding {
	const renew = "cellhold serve makes one in the background; if it runs already, cellhold template ls says what is in the way"
	f := finding{Finding: embedded.Finding{Name: "template " + t.Name, Mend: renew}, optional: true}
	age, due := now.Sub(t.Built).Round(time.Minute), cmp.Or(c.TemplateRefresh, 24*time.Hour) // zero is that for package template
	switch {
	case outdated != "":
		f.Detail = "what is saved is outdated (" + outdated + "), so its sessions start cold"
	case t.State != cellhold.TemplateReady:
		f.Detail = "nothing is saved yet, so its sessions start cold"
	case age > due:
		f.Detail = fmt.Sprintf("what is saved is %s old, and is to be made anew after %s", age, due)
	default:
		f.OK, f.Mend = true, ""
		f.Detail = fmt.Sprintf("%s are saved, %s old", size(t.Size).rounded(), age)
	}
	return f
}
