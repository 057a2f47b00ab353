package main

import (
	"bytes"
	"cellhold/internal/cli/console"
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var update = flag.Bool("update", false, "rewrite the generated pages in docs/reference")

// pages are the generated pages in docs/reference, by their names.
var pages = map[string]func(*kong.Application) string{
	"command-line.md":  commandLine,
	"configuration.md": configuration,
}

// model returns the commands and flags of the program.
func model(t *testing.T) *kong.Application {
	t.Helper()
	parser, err := newParser(&cli{}, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

func TestTheGeneratedPagesAreCurrent(t *testing.T) {
	for name, write := range pages {
		path, got := filepath.Join("../../docs/reference", name), []byte(write(model(t)))
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/reference/%s differs from the flags and commands (%v); run: go test ./cmd/cellhold -run Generated -update", name, err)
		}
	}
}

func TestTheFileOfAllSettingsIsAccepted(t *testing.T) {
	_, text, _ := strings.Cut(configuration(model(t)), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	if status := command([]string{"--config", path, "config"}, nil, &out, &problems); status != console.ExitOK {
		t.Errorf("got exit status %d, want 0: %s", status, &problems)
	}
}

// node returns a command of the program.
func node(app *kong.Application, name string) *kong.Node {
	i := slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == name })
	return app.Children[i]
}

// commandLine returns the page about all commands.
func commandLine(app *kong.Application) string {
	var b strings.Builder
	b.WriteString(generated + "# Command line\n\n" +
		"`cellhold COMMAND --help` prints this in your terminal. Each flag `--some-name` is also an environment variable\n" +
		"`CELLHOLD_SOME_NAME`, and a line in the [configuration file](configuration.md). All commands have the same [exit statuses](#exit-statuses).\n\n")
	b.WriteString("| Command | Purpose |\n|---|---|\n")
	for _, n := range leaves(app.Node) {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", n.FullPath(), anchor(n.FullPath()), cell(n.Help))
	}
	b.WriteString("\nAll commands have these flags:\n\n")
	b.WriteString(flagTable(app.Flags))
	settings := settingNames(app)
	for _, n := range leaves(app.Node) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```\ncellhold %s\n```\n", n.FullPath(), n.Help, n.Summary())
		if n.Detail != "" {
			fmt.Fprintf(&b, "\n%s\n", n.Detail)
		}
		if len(n.Positional) > 0 {
			b.WriteString("\n| Argument | Meaning |\n|---|---|\n")
			for _, p := range n.Positional {
				fmt.Fprintf(&b, "| `%s` | %s |\n", p.Summary(), cell(p.Help))
			}
		}
		writeFlags(&b, n, settings)
	}
	b.WriteString(statusTable())
	b.WriteString(operationTable())
	return b.String()
}

// writeFlags writes the flags of a command. Flags that are settings of serve are only named.
func writeFlags(b *strings.Builder, n *kong.Node, settings map[string]bool) {
	var own []*kong.Flag
	var shared []string
	for up := n; up.Parent != nil; up = up.Parent {
		for _, f := range up.Flags {
			switch {
			case f.Hidden || f.Name == "help":
			case settings[f.Name] && !(n.Name == "run" && f.Name == "output"): // run has a meaning of its own for it
				shared = append(shared, "`--"+f.Name+"`")
			default:
				own = append(own, f)
			}
		}
	}
	if len(own) > 0 {
		b.WriteString("\n" + flagTable(own))
	}
	switch {
	case n.Name == "serve":
		b.WriteString("\nIts flags are the settings in [configuration](configuration.md).\n")
	case len(shared) > 0:
		fmt.Fprintf(b, "\nIt also has these settings, described in [configuration](configuration.md): %s.\n", strings.Join(shared, ", "))
	}
}

// configuration returns the page about the settings of the server.
func configuration(app *kong.Application) string {
	var b strings.Builder
	b.WriteString(generated + "# Configuration\n\n" +
		"Each setting of `cellhold serve` is a flag (`--idle-timeout 30m`), an environment variable (`CELLHOLD_IDLE_TIMEOUT=30m`) and a\n" +
		"line in a YAML file (`idle-timeout: 30m`). A flag wins over a variable, and a variable over a file. Files are read in this order, and the first one wins: `--config FILE`, `cellhold/config.yaml` in the\n" +
		"user's configuration folder (`~/.config`), and `/etc/cellhold/config.yaml`. An unknown name in a file stops the program.\n" +
		"`cellhold config` prints the result.\n\n" +
		"Sizes are text such as `512MiB` or `2GiB`; a plain number of bytes needs quotes in the file. Times are text such as `30s`, `15m` or `24h`. Lists have commas\n" +
		"in flags and variables, and are lists in the file.\n")
	flags := settingFlags(app)
	for _, g := range groupsOf(flags) {
		fmt.Fprintf(&b, "\n## %s\n\n%s", g.title, flagTable(g.flags))
	}
	b.WriteString("\n## A file with all settings\n\nThe values are the defaults. Settings without a default are comments.\n\n```yaml\n")
	for _, g := range groupsOf(flags) {
		fmt.Fprintf(&b, "# %s\n\n", g.title)
		for _, f := range g.flags {
			if f.Name != "config" {
				b.WriteString(setting(f))
			}
		}
	}
	return strings.TrimSpace(b.String()) + "\n```\n"
}

const generated = "<!-- generated: go test ./cmd/cellhold -run Generated -update -->\n\n"

// group are flags below one heading.
type group struct {
	title string
	flags []*kong.Flag
}

// groupsOf returns the flags by their groups, in the order of the first flag of each group.
func groupsOf(flags []*kong.Flag) (all []group) {
	for _, f := range flags {
		title := "General"
		if f.Group != nil {
			title = cmp.Or(f.Group.Title, f.Group.Key)
		}
		i := slices.IndexFunc(all, func(g group) bool { return g.title == title })
		if i < 0 {
			i, all = len(all), append(all, group{title: title})
		}
		all[i].flags = append(all[i].flags, f)
	}
	return all
}

// settingFlags returns the flags of serve and those of all commands.
func settingFlags(app *kong.Application) []*kong.Flag {
	all := slices.Concat(app.Flags, node(app, "serve").Flags)
	return slices.DeleteFunc(all, func(f *kong.Flag) bool { return f.Hidden || f.Name == "help" })
}

func settingNames(app *kong.Application) map[string]bool {
	names := map[string]bool{}
	for _, f := range node(app, "serve").Flags {
		names[f.Name] = true
	}
	return names
}

// leaves returns the commands that can be run, in their order.
func leaves(n *kong.Node) (all []*kong.Node) {
	for _, child := range n.Children {
		if child.Hidden {
			continue
		}
		if len(child.Children) == 0 {
			all = append(all, child)
		}
		all = append(all, leaves(child)...)
	}
	return all
}

// flagTable returns a table of flags.
func flagTable(flags []*kong.Flag) string {
	var b strings.Builder
	b.WriteString("| Flag | Default | Meaning |\n|---|---|---|\n")
	for _, f := range flags {
		if f.Name == "help" || f.Hidden {
			continue
		}
		name := "`--" + f.Name + "`"
		if f.Short != 0 {
			name = fmt.Sprintf("`-%c`, %s", f.Short, name)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, shownDefault(f), cell(f.Help))
	}
	return b.String()
}

// shownDefault returns the default of a flag for the table.
func shownDefault(f *kong.Flag) string {
	switch {
	case f.Name == "home": // it depends on the user
		return "`/var/lib/cellhold`; without root `~/.local/state/cellhold`"
	case f.IsBool():
		return "off"
	case f.Default == "":
		return ""
	}
	return "`" + f.Default + "`"
}

// setting returns the lines of a flag in the file of all settings.
func setting(f *kong.Flag) string {
	line := f.Name + ": " + f.Default
	switch {
	case f.Name == "home":
		line = "# home: /var/lib/cellhold"
	case f.IsBool():
		line = f.Name + ": false"
	case f.IsSlice() || f.IsMap():
		line = f.Name + ": []"
	case f.Enum != "" || f.Target.Type() == reflect.TypeFor[console.Size]():
		line = fmt.Sprintf("%s: %q", f.Name, f.Default)
	case f.Default == "":
		line = "# " + f.Name + ": " + f.FormatPlaceHolder()
	}
	return "# " + strings.Join(wrapped(f.Help, 110), "\n# ") + "\n" + line + "\n\n"
}

// wrapped returns the lines of a text, each of at most that many characters.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}

// cell returns a text for a cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(strings.Join(strings.Fields(text), " "))
}

// anchor returns the anchor of a heading.
func anchor(heading string) string { return strings.ReplaceAll(strings.ToLower(heading), " ", "-") }
