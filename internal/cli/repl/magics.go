package repl

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
)

// command is a command of the prompt. All other lines that begin with % are for the kernel.
type command struct {
	args string
	help string
	run  func(ctx context.Context, r *REPL, args string) error
}

var magics map[string]command

func init() { // %help lists the commands, so the map cannot be a constant of the package
	magics = map[string]command{
		"%fork":       {"", "create a session that continues from this one", forkSession},
		"%checkpoint": {"[NAME]", "save the session under a name; without a name, list the checkpoints", checkpoint},
		"%rollback":   {"NAME", "restore variables and files of a checkpoint", rollback},
		"%install":    {"PACKAGE…", "install packages", install},
		"%files":      {"[FOLDER]", "list files of the session", listFiles},
		"%session":    {"[ID]", "show the session, or use another one", switchSession},
		"%help":       {"", "show this list", printHelp},
	}
}

func magicNames() []string { return slices.Sorted(maps.Keys(magics)) }

// magic returns the command of the prompt that a line names.
func magic(code string) (name, args string, ok bool) {
	name, args, _ = strings.Cut(strings.TrimSpace(code), " ")
	if _, known := magics[name]; !known || strings.Contains(code, "\n") {
		return "", "", false
	}
	return name, strings.TrimSpace(args), true
}

// question returns the name of the object in a line such as ?name, name? or name??.
func question(code string) (name string, detail int, ok bool) {
	code = strings.TrimSpace(code)
	name = strings.Trim(code, "?")
	marks := len(code) - len(name)
	if marks == 0 || name == "" || strings.ContainsAny(name, "?\n #'\"!%;=") || strings.HasPrefix(code, "?") && strings.HasSuffix(code, "?") {
		return "", 0, false
	}
	return name, min(marks, 2) - 1, true
}

func printHelp(_ context.Context, r *REPL, _ string) error {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	for _, name := range magicNames() {
		fmt.Fprintf(table, "%s %s\t%s\n", name, magics[name].args, magics[name].help)
	}
	rows := [][2]string{
		{"name?, name??", "describe an object; ?? adds its source code"},
		{"Tab", "complete a name, or indent"},
		{"Ctrl-C", "interrupt the cell; twice: leave it running and end the program"},
		{"Ctrl-D, exit", "end the program"},
	}
	for _, row := range rows {
		fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
	}
	_ = table.Flush() // a strings.Builder does not fail
	return r.Printer.Text(out.String())
}

func forkSession(ctx context.Context, r *REPL, _ string) error {
	forks, err := r.Client.Fork(ctx, r.Session, 1, "")
	if err != nil {
		return err
	}
	for _, f := range forks {
		if err := r.Printer.Text(fmt.Sprintf("Session %s continues from here. To use it: %%session %s", f.ID, f.ID)); err != nil {
			return err
		}
		if !r.Private {
			if err := r.Printer.Text(fmt.Sprintf("It stays when this program ends. Later: %s %s", r.Return, f.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkpoint(ctx context.Context, r *REPL, name string) error {
	if name != "" {
		c, err := r.Client.Checkpoint(ctx, r.Session, name)
		if err != nil {
			return err
		}
		return r.Printer.Text(fmt.Sprintf("Checkpoint %s saved. To return to it: %%rollback %s", c.Name, c.Name))
	}
	list, err := r.Client.Checkpoints(ctx, r.Session)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return r.Printer.Text("The session has no checkpoints. To make one: %checkpoint NAME")
	}
	for _, c := range list {
		if err := r.Printer.Text(fmt.Sprintf("%s  %s", console.Printable(c.Name), c.Created.Local().Format(time.DateTime))); err != nil {
			return err
		}
	}
	return nil
}

func rollback(ctx context.Context, r *REPL, name string) error {
	if name == "" {
		return fmt.Errorf("%%rollback needs the name of a checkpoint; %%checkpoint lists them")
	}
	if _, err := r.Client.Rollback(ctx, r.Session, name); err != nil {
		return err
	}
	return r.Printer.Text("Variables and files are those of checkpoint " + console.Printable(name) + ".")
}

func install(ctx context.Context, r *REPL, args string) error {
	names := strings.Fields(args)
	if len(names) == 0 {
		return fmt.Errorf("%%install needs the name of a package, such as tabulate>=0.9")
	}
	if err := r.Printer.Text("Installing " + console.Printable(args) + " …"); err != nil {
		return err
	}
	report, err := r.Client.Install(ctx, r.Session, client.InstallPackages{Requirements: names})
	if err != nil {
		return err
	}
	var lines []string
	for _, c := range report.Changes {
		lines = append(lines, console.Printable(strings.TrimSpace(fmt.Sprintf("%s %s -> %s", c.Name, c.Before, c.After))))
	}
	if len(lines) == 0 {
		lines = append(lines, "all packages are installed already")
	}
	for _, warning := range report.Warnings {
		lines = append(lines, "! "+console.Printable(warning))
	}
	return r.Printer.Text(strings.Join(lines, "\n"))
}

// maxListed is the limit of the files that %files shows.
const maxListed = 200

func listFiles(ctx context.Context, r *REPL, dir string) error {
	if dir == "" {
		dir = "."
	}
	list, more, err := r.Client.ListDirUpTo(ctx, r.Session, dir, maxListed)
	if err != nil {
		return err
	}
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	for _, f := range list {
		name := console.Printable(f.Path)
		if f.Type == cellhold.FileDirectory {
			name += "/"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", console.Size(f.Size).Rounded(), f.Modified.Local().Format(time.DateTime), name)
	}
	_ = table.Flush() // a strings.Builder does not fail
	if len(list) == 0 {
		out.WriteString("The folder is empty.\n")
	}
	if more {
		fmt.Fprintf(&out, "… and more; only %d are shown\n", maxListed)
	}
	return r.Printer.Text(out.String())
}

func switchSession(ctx context.Context, r *REPL, id string) error {
	next := r.Session
	if id != "" {
		next = cellhold.SessionID(id)
	}
	s, err := r.Client.Session(ctx, next)
	if err != nil {
		return err
	}
	if id != "" {
		if err := r.enter(s); err != nil {
			return err
		}
	}
	return r.Printer.Text(fmt.Sprintf("Session %s is %s.", s.ID, s.State))
}

// textOf reads a text of a description.
func textOf(raw json.RawMessage) (text string, ok bool) {
	ok = raw != nil && json.Unmarshal(raw, &text) == nil
	return text, ok
}
