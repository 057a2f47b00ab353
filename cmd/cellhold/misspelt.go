package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// misspelt returns an error that names the first unknown command, flag or choice of a command line, with the most similar
// known one. It returns nil if it finds none, so that the error of kong stands.
func misspelt(app *kong.Application, args []string) error {
	w := walk{node: app.Node, flags: app.Flags}
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--":
			return nil
		case strings.HasPrefix(arg, "--"):
			name, value, joined := strings.Cut(arg[2:], "=")
			flag := w.flag(name)
			if flag == nil {
				return fmt.Errorf("unknown flag --%s%s", name, w.likeFlag(name))
			}
			if !joined && !flag.IsBool() && i+1 < len(args) {
				i++
				value = args[i]
			}
			if err := wrongChoice("--"+name, flag.Value, value); err != nil {
				return err
			}
		case len(arg) > 1 && arg[0] == '-':
			if flag := w.short(arg[1:]); flag != nil && !flag.IsBool() && len(arg) == 2 {
				i++
			}
		default:
			if done, err := w.word(arg); done {
				return err
			}
		}
	}
	return nil
}

// walk is a place in the command line.
type walk struct {
	node       *kong.Node
	flags      []*kong.Flag // of the node and those above it
	positional int          // number of arguments so far
}

// word takes a word that is not a flag. done ends the walk.
func (w *walk) word(arg string) (done bool, err error) {
	if len(w.node.Positional) > 0 {
		if w.positional >= len(w.node.Positional) {
			return true, nil
		}
		p := w.node.Positional[w.positional]
		if p.Passthrough {
			return true, nil
		}
		if !p.IsCumulative() {
			w.positional++
		}
		err := wrongChoice(p.Summary(), p, arg)
		return err != nil, err
	}
	var names []string
	for _, child := range w.node.Children {
		if child.Name == arg || slices.Contains(child.Aliases, arg) {
			w.node, w.flags = child, slices.Concat(w.flags, child.Flags)
			return false, nil
		}
		if !child.Hidden {
			names = append(names, child.Name)
		}
	}
	if len(names) == 0 {
		return true, fmt.Errorf("%s takes no argument %s", w.node.FullPath(), arg)
	}
	group := strings.TrimPrefix(w.node.FullPath()+" ", "cellhold ")
	like := nearest(arg, names)
	if like == "" {
		return true, fmt.Errorf("unknown command %s%s; see cellhold %s--help", group, arg, group)
	}
	return true, fmt.Errorf("unknown command %s%s; did you mean %s%s?", group, arg, group, like)
}

// flag returns a flag by its name, or nil.
func (w *walk) flag(name string) *kong.Flag {
	i := slices.IndexFunc(w.flags, func(f *kong.Flag) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return w.flags[i]
}

// short returns the flag of a letter, or nil.
func (w *walk) short(letters string) *kong.Flag {
	i := slices.IndexFunc(w.flags, func(f *kong.Flag) bool { return f.Short != 0 && strings.HasPrefix(letters, string(f.Short)) })
	if i < 0 {
		return nil
	}
	return w.flags[i]
}

// likeFlag returns the end of a sentence with the most similar flag, or nothing.
func (w *walk) likeFlag(name string) string {
	var names []string
	for _, f := range w.flags {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	if like := nearest(name, names); like != "" {
		return "; did you mean --" + like + "?"
	}
	return ""
}

// wrongChoice returns an error if a value with choices is none of them.
func wrongChoice(name string, v *kong.Value, given string) error {
	if v.Enum == "" || v.IsCumulative() || given == "" || v.EnumMap()[given] {
		return nil
	}
	choices := slices.DeleteFunc(v.EnumSlice(), func(c string) bool { return c == "" })
	return fmt.Errorf("%s: unknown choice %q%s Use one of: %s", name, given, orPoint(suggestion(given, choices)), strings.Join(choices, ", "))
}

// orPoint returns the end of a sentence.
func orPoint(end string) string {
	if end == "" {
		return "."
	}
	return end
}
