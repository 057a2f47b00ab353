// Command cellhold runs untrusted code in stateful kernels inside sandboxes: `cellhold serve` is the
// service, the other commands use it or prepare for it. It only wires rooms together.
package main

import (
	"cellhold/internal/sandbox/embedded"
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
	embedded.Main() // does not return in a sandbox's own processes
	os.Exit(command(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit statuses of the program itself; `run` adds those of the script it runs.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// cli is the whole command line.
type cli struct {
	Config   kong.ConfigFlag `help:"Read settings from this YAML file: a flag's name, a colon, its value." placeholder:"FILE" type:"existingfile"`
	Home     string          `help:"Where sessions, images and the token are kept." default:"${home}" type:"path"`
	LogLevel slog.Level      `help:"How much to log: debug, info, warn or error." default:"${loglevel}"`

	Serve    serveCmd    `cmd:"" help:"Start the service."`
	Run      runCmd      `cmd:"" help:"Run a script or notebook in a sandbox of its own."`
	Install  installCmd  `cmd:"" help:"Install packages in a session of a service."`
	Exec     execCmd     `cmd:"" help:"Run a command in a session, as ssh does on another machine."`
	Session  sessionCmd  `cmd:"" help:"List, end, hibernate and fork the sessions of a service."`
	Template templateCmd `cmd:"" help:"List what the sessions of a service can start from."`
	Copy     copyCmd     `cmd:"" name:"cp" help:"Copy files and directories to a session and from it."`
	Image    imageCmd    `cmd:"" help:"Make and move the images that sandboxes start from."`
	Doctor   doctorCmd   `cmd:"" help:"Say what this host lacks, and the command that mends it."`
	Show     configCmd   `cmd:"" name:"config" help:"Print the settings that serve would use, with secrets hidden."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// terminal is where a command reads and writes.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	log      *slog.Logger
}

// exitError ends the program with a status and says nothing more.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// command runs the program with these arguments and returns its exit status.
func command(args []string, in io.Reader, out, errOut io.Writer) int {
	var c cli
	parser, err := newParser(&c, out, errOut)
	if err != nil {
		return fail(errOut, err)
	}
	if err := settingsOf(parser.Model).checkEnvironment(os.Environ()); err != nil {
		fmt.Fprintf(errOut, "cellhold: %v\n", err)
		return exitUsage
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case slices.Equal(args, []string{"--version"}): // no flag, which CELLHOLD_VERSION would set
		args = []string{"version"}
	}
	parsed, err := parser.Parse(scriptArgs(parser.Model, args))
	if err != nil {
		fmt.Fprintf(errOut, "cellhold: %v\n", err)
		return exitUsage
	}
	if c.Home == "" {
		c.Home = defaultHome()
	}
	c.Home = resolved(c.Home)
	ctx, release := signal.NotifyContext(context.Background(), obeyed(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)...)
	defer release()
	// From the first signal on the next one has its usual effect: it ends the program at once.
	context.AfterFunc(ctx, release)

	t := &terminal{in: in, out: out, err: errOut}
	t.log = slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: c.LogLevel}))
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(&c, t); err != nil {
		return fail(errOut, err)
	}
	return exitOK
}

// obeyed returns those of the signals that are not ignored: under nohup a terminal that closes changes nothing,
// and asking for a signal would end that. SIGTERM is always one of them.
func obeyed(signals ...os.Signal) []os.Signal {
	return slices.DeleteFunc(signals, func(s os.Signal) bool { return s != syscall.SIGTERM && signal.Ignored(s) })
}

// newParser returns the parser of the command line, the environment and the configuration files,
// the first of which wins.
func newParser(c *cli, out, errOut io.Writer) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("cellhold"),
		kong.Description("Runs untrusted code in stateful kernels inside gVisor sandboxes."),
		kong.UsageOnError(),
		kong.DefaultEnvars("CELLHOLD"),
		kong.Configuration(readConfig, configFiles()...),
		kong.NamedMapper("path", kong.MapperFunc(readPath)),
		kong.Vars{"home": defaultHome(), "loglevel": "info"},
		kong.Writers(out, errOut),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
}

// fail prints one sentence and returns the exit status.
func fail(w io.Writer, err error) int {
	if exit, ok := errors.AsType[exitError](err); ok {
		return int(exit)
	}
	fmt.Fprintf(w, "cellhold: %v\n", plainly(err))
	return exitFailed
}
