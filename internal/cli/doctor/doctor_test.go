package doctor

import (
	"cellhold"
	"cellhold/internal/cli/setup"
	"cellhold/internal/sandbox"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stocked is a driver that lists the given snapshots.
type stocked struct {
	sandbox.Driver
	list []sandbox.Snapshot
	none bool // the driver cannot make snapshots
}

func (d stocked) Features() sandbox.Features { return sandbox.Features{Snapshot: !d.none} }

func (d stocked) Snapshots(context.Context) ([]sandbox.Snapshot, error) { return d.list, nil }

func (d stocked) RemoveSnapshot(context.Context, string) error { panic("unexpected call") }

func TestTheDoctorReportsProblemsWithSnapshotsOfSessions(t *testing.T) {
	saved := func(letter string, bytes int64, stale string) sandbox.Snapshot {
		return sandbox.Snapshot{Name: "s" + strings.Repeat(letter, 16) + "-h-aaaaaaaa", Size: bytes, Stale: stale}
	}
	for name, x := range map[string]struct {
		driver stocked
		want   string // empty for no problem
	}{
		"no snapshot":                 {stocked{}, ""},
		"room for another session":    {stocked{list: []sandbox.Snapshot{saved("a", 1<<30, ""), saved("b", 1<<30, "")}}, ""},
		"templates":                   {stocked{list: []sandbox.Snapshot{{Name: "tpl-x", Size: 1 << 40, Stale: "old"}}}, ""},
		"no room for another session": {stocked{list: []sandbox.Snapshot{saved("a", 3500<<20, "")}}, "--max-snapshots"},
		"of another version":          {stocked{list: []sandbox.Snapshot{saved("a", 1, "another gVisor"), saved("b", 1, "")}}, "checkpoint --rm"},
		"cannot save at all":          {stocked{none: true}, "cannot be hibernated"},
	} {
		c := Cmd{Settings: setup.Settings{Memory: 1 << 30}, ServerSettings: setup.ServerSettings{MaxSnapshots: 4 << 30}}
		f := c.checkSessions(t.Context(), x.driver)
		if f.OK != (x.want == "") || f.OK != (f.Fix == "") || !strings.Contains(f.Fix, x.want) || !f.optional {
			t.Errorf("%s: got %+v, want OK %t and a fix with %q", name, f, x.want == "", x.want)
		}
	}
}

func TestTheDoctorReportsOldMissingAndOutdatedTemplates(t *testing.T) {
	now := time.Now()
	ready := cellhold.Template{Name: "python", State: cellhold.TemplateReady, Size: 100 << 20, Built: now.Add(-3 * time.Hour)}
	old, none := ready, cellhold.Template{Name: "python", State: cellhold.TemplateBuilding}
	old.Built = now.Add(-25 * time.Hour)
	for name, x := range map[string]struct {
		template cellhold.Template
		outdated string
		ok       bool
		says     string
	}{
		"ready":    {ready, "", true, "has 100.0 MiB and is 3h0m0s old"},
		"old":      {old, "", false, "25h0m0s old"},
		"none":     {none, "", false, "no snapshot yet"},
		"outdated": {none, "it was made with another gVisor", false, "another gVisor"},
	} {
		c := Cmd{ServerSettings: setup.ServerSettings{TemplateSettings: setup.TemplateSettings{TemplateRefresh: 24 * time.Hour}}}
		f := c.judgeTemplate(x.template, x.outdated, now)
		if f.OK != x.ok || f.OK != (f.Fix == "") || !strings.Contains(f.Detail, x.says) || f.Name != "template python" || !f.optional {
			t.Errorf("%s: got %+v, want OK %v and the detail %q", name, f, x.ok, x.says)
		}
	}
}

func TestTheDoctorSaysWhyTheHomeCannotHoldThePrograms(t *testing.T) {
	for err, fix := range map[error]string{
		fmt.Errorf("runner: %w", syscall.ENOSPC): "free disk space",
		fmt.Errorf("runner: %w", syscall.EACCES): "--home",
	} {
		f := programsFinding(err)
		if f.OK || f.optional || f.Name != "programs in the home" || !strings.Contains(f.Fix, fix) || f.Detail != err.Error() {
			t.Errorf("%v: got %+v", err, f)
		}
	}
}
