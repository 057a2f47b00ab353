package watch

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"cellhold"
	"cellhold/internal/cli/console"
)

// TopCmd shows the sessions of the caller, refreshed.
type TopCmd struct {
	serverFlags `embed:""`

	Once     bool          `help:"Print one table, and end. This is the default if the output is not a terminal."`
	Interval time.Duration `help:"Time between two tables." default:"2s"`
	Sort     string        `help:"Order of the sessions: used, created, state, user or memory." enum:"used,created,state,user,memory" default:"used"`
	All      bool          `help:"Show ended sessions too." short:"a"`
}

// Help returns the text below the list of flags.
func (TopCmd) Help() string {
	return "MEMORY and CPU are the limits of the session. Press Ctrl-C to end."
}

// minInterval limits the load of the server.
const minInterval = 500 * time.Millisecond

// Run prints tables until a signal comes.
func (c *TopCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	server, err := c.connect(all.Home)
	if err != nil {
		return err
	}
	if c.Once = c.Once || !console.IsTerminal(t.Out); c.Once {
		list, err := server.Sessions(ctx)
		if err != nil {
			return err
		}
		return c.print(t.Out, list)
	}
	tick := time.NewTicker(max(c.Interval, minInterval))
	defer tick.Stop()
	for {
		list, err := server.Sessions(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var table strings.Builder
		if err != nil {
			fmt.Fprintf(&table, "cellhold: %s\n", console.Sentence(err))
		} else if err := c.print(&table, list); err != nil {
			return err
		}
		// Home, then each line up to its end, then the rest of the screen: the table does not flicker.
		text := strings.ReplaceAll(table.String(), "\n", "\x1b[K\n")
		if _, err := io.WriteString(t.Out, "\x1b[H"+text+"\x1b[J"); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// print writes one table.
func (c *TopCmd) print(w io.Writer, list []cellhold.Session) error {
	if !c.All {
		list = slices.DeleteFunc(list, func(s cellhold.Session) bool { return s.State == cellhold.SessionEnded })
	}
	slices.SortStableFunc(list, c.order)
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "SESSION\tUSER\tSTATE\tKERNELS\tQUEUED\tMEMORY\tCPU\tUSED")
	for _, s := range list {
		var kernels []string
		queued := 0
		for _, k := range s.Kernels {
			kernels = append(kernels, console.Printable(string(k.ID))+" "+console.Printable(string(k.State)))
			queued += k.Queued
		}
		user := cmp.Or(console.Printable(s.User), "-")
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%g\t%s\n", console.Printable(string(s.ID)), user, console.Printable(string(s.State)), cmp.Or(strings.Join(kernels, ", "), "-"), queued,
			console.Size(s.Limits.Memory).Rounded(), s.Limits.CPU, s.Used.Local().Format(time.DateTime))
	}
	return table.Flush()
}

// order compares two sessions. The newest and the largest come first.
func (c *TopCmd) order(a, b cellhold.Session) int {
	switch c.Sort {
	case "created":
		return b.Created.Compare(a.Created)
	case "state":
		return cmp.Compare(a.State, b.State)
	case "user":
		return cmp.Compare(a.User, b.User)
	case "memory":
		return cmp.Compare(b.Limits.Memory, a.Limits.Memory)
	}
	return b.Used.Compare(a.Used)
}
