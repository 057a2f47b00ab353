package main

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// scriptArgs inserts -- where the arguments of a script begin: at the first word after its name, as with python. Flags
// of cellhold can also stand directly after the name, except --help, which is the script's there.
func scriptArgs(app *kong.Application, args []string) []string {
	i := skipFlags(app.Flags, args, 0, "")
	if i == len(args) || args[i] != "run" {
		return args
	}
	at := slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == "run" })
	flags := slices.Concat(app.Flags, app.Children[at].Flags)
	if i = skipFlags(flags, args, i+1, ""); i == len(args) || args[i] == "--" {
		return args
	}
	i = skipFlags(flags, args, i+1, "help")
	if i == len(args) || args[i] == "--" {
		return args
	}
	return slices.Insert(slices.Clone(args), i, "--")
}

// skipFlags returns the index of the first word, from i on, that is neither one of these flags nor the value of one.
func skipFlags(flags []*kong.Flag, args []string, i int, except string) int {
	for i < len(args) && strings.HasPrefix(args[i], "--") {
		name, _, joined := strings.Cut(args[i][2:], "=")
		at := slices.IndexFunc(flags, func(f *kong.Flag) bool { return f.Name == name && name != except })
		if at < 0 {
			break
		}
		i++
		if !joined && !flags[at].IsBool() {
			i++
		}
	}
	return min(i, len(args))
}
