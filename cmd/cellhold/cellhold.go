// Command cellhold runs untrusted code in stateful kernels inside sandboxes. `cellhold serve` starts the server.
// `cellhold run` can run a script without a server. Most other commands use a server, or prepare the host for a server.
// The package only connects other packages.
package main

import (
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/doctor"
	"cellhold/internal/cli/remote"
	"cellhold/internal/cli/setup"
	"cellhold/internal/cli/watch"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	os.Exit(command(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// cli is the command line with its flags and commands.
type cli struct {
	Config          kong.ConfigFlag `help:"Read settings from this YAML file. Each line is a flag's name, a colon and a value." placeholder:"FILE" type:"existingfile" group:"Global flags:"`
	console.Globals `embed:""`

	Serve    serveCmd           `cmd:"" help:"Start the server."`
	Run      runCmd             `cmd:"" help:"Run a script or notebook in its own sandbox."`
	REPL     replCmd            `cmd:"" name:"repl" help:"Run code interactively in a session."`
	Attach   watch.AttachCmd    `cmd:"" help:"Watch the cells of a session as they happen."`
	Logs     watch.LogsCmd      `cmd:"" help:"Print the code and the output of a session's cells."`
	Top      watch.TopCmd       `cmd:"" help:"Show your sessions, refreshed."`
	MCP      mcpCmd             `cmd:"" name:"mcp" help:"Serve tools for AI agents over stdio (MCP)."`
	Session  remote.SessionCmd  `cmd:"" help:"Create, list, end, connect to, hibernate, fork and restore sessions."`
	Submit   remote.SubmitCmd   `cmd:"" help:"Run a cell in a session, and print its output."`
	Exec     remote.ExecCmd     `cmd:"" help:"Run a command in a session, with input, signals and exit status."`
	Copy     remote.CopyCmd     `cmd:"" name:"cp" help:"Copy files and directories to or from a session."`
	Install  remote.InstallCmd  `cmd:"" help:"Install packages in a session."`
	Cell     remote.CellCmd     `cmd:"" help:"List, show, cancel and answer the cells of a session."`
	Kernel   remote.KernelCmd   `cmd:"" help:"List, start, interrupt, restart and end the kernels of a session."`
	Command  remote.CommandCmd  `cmd:"" help:"List, show, signal and end the commands of a session."`
	File     remote.FileCmd     `cmd:"" help:"List, read, write, move, remove and watch the files of a session."`
	Output   remote.OutputCmd   `cmd:"" help:"List and copy the files that the code wrote to /mnt/data/output."`
	Notebook remote.NotebookCmd `cmd:"" help:"Export and import the notebook of a session."`
	Package  remote.PackageCmd  `cmd:"" help:"List, lock and remove the packages of a session."`
	Egress   remote.EgressCmd   `cmd:"" help:"List the connection attempts of a session."`
	Port     remote.PortCmd     `cmd:"" help:"Reach programs of a session that listen on a port."`
	Once     remote.OnceCmd     `cmd:"" help:"Run code in a sandbox that is used once."`
	Batch    remote.BatchCmd    `cmd:"" help:"Run many programs, each in a sandbox that is used once."`
	Template remote.TemplateCmd `cmd:"" help:"List the templates of a server."`
	Status   remote.StatusCmd   `cmd:"" help:"Print the state and the version of a server."`
	Image    imageCmd           `cmd:"" help:"Build, list, import and export images."`
	Health   healthCmd          `cmd:"" help:"Ask a server whether it works, for health checks."`
	Seccomp  seccompCmd         `cmd:"" help:"Print the seccomp profile for containers."`
	Doctor   doctor.Cmd         `cmd:"" help:"Check this host and print how to fix what is missing."`
	Show     configCmd          `cmd:"" name:"config" help:"Print the settings of serve, with secrets hidden."`
	Version  versionCmd         `cmd:"" help:"Print the version."`

	Completion completionCmd `cmd:"" help:"Print the script that completes words of cellhold in a shell."`
	Man        manCmd        `cmd:"" help:"Print the manual page."`
}

// command runs the program with the given arguments and returns its exit status.
func command(args []string, in io.Reader, out, errOut io.Writer) int {
	var c cli
	parser, err := newParser(&c, out, errOut)
	if err != nil {
		return fail(errOut, err)
	}
	if os.Getenv("COMP_LINE") != "" { // a shell asks for the words that can follow
		complete(parser, out)
		return console.ExitOK
	}
	if err := settingsOf(parser.Model).checkEnvironment(os.Environ()); err != nil {
		fmt.Fprintf(errOut, "cellhold: %v\n", err)
		return console.ExitUsage
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case slices.Equal(args, []string{"--version"}): // not a kong flag: the variable CELLHOLD_VERSION would also set it
		args = []string{"version"}
	}
	args = scriptArgs(parser.Model, args)
	parsed, err := parser.Parse(args)
	if err != nil {
		err = cmp.Or(misspelt(parser.Model, args), err)
		fmt.Fprintf(errOut, "cellhold: %v\n", err)
		return console.ExitUsage
	}
	if c.Home == "" {
		c.Home = defaultHome()
	}
	c.Home = setup.Resolved(c.Home)
	if c.Images == "" {
		c.Images = setup.ImagesDir(c.Home)
	}
	ctx, release := signal.NotifyContext(context.Background(), console.Handled(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)...)
	defer release()
	// The first signal ends the command. Then release restores the default action of signals, so the next signal kills
	// the process.
	context.AfterFunc(ctx, release)

	c.Serve.LimitsRequired = dropped() // before any part reads the environment
	t := &console.Terminal{In: in, Out: out, Err: errOut, Environ: os.Environ()}
	t.Log = slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: c.LogLevel}))
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(&c.Globals, t); err != nil {
		return fail(errOut, err)
	}
	return console.ExitOK
}

// newParser returns a parser that reads the command line, the environment and the configuration files. The first
// source that sets a flag wins.
func newParser(c *cli, out, errOut io.Writer) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("cellhold"),
		kong.Description("Run untrusted code in stateful Jupyter kernels, isolated by gVisor."),
		kong.UsageOnError(),
		kong.DefaultEnvars("CELLHOLD"),
		kong.Configuration(readConfig, configFiles()...),
		kong.NamedMapper("path", kong.MapperFunc(readPath)),
		kong.Vars{"home": defaultHome(), "loglevel": "info"},
		kong.Writers(out, errOut),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
}

// fail prints the error's message and returns the exit status. For an ExitError it prints nothing.
func fail(w io.Writer, err error) int {
	if _, silent := errors.AsType[console.ExitError](err); !silent {
		fmt.Fprintf(w, "cellhold: %s\n", console.Sentence(err))
	}
	return console.ExitStatus(err)
}
