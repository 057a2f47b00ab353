package main

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// scriptArgs inserts -- before the arguments of the script in `cellhold run SCRIPT ARGS`. Flags of cellhold can stand before
// and directly after the script's name. After the name, --help belongs to the script.
func scriptArgs(app *kong.Application, args []string) []string {
	i := skipFlags(app.Flags, args, 0, "") // i is at the subcommand
	if i == len(args) || args[i] != "run" {
		return args
	}
	run := slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == "run" })
	flags := slices.Concat(app.Flags, app.Children[run].Flags)
	if i = skipFlags(flags, args, i+1, ""); i == len(args) || args[i] == "--" {
		return args
	}
	// i is at the script's name.
	i = skipFlags(flags, args, i+1, "help")
	if i == len(args) || args[i] == "--" {
		return args
	}
	return slices.Insert(slices.Clone(args), i, "--")
}

// skipFlags returns the index of the first word from i that is not a flag or its value. It stops at the flag with
// the name in except.
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
