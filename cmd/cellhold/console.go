package main

import (
	"cellhold"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Exit statuses. Shells and timeout(1) use the same values for commands that did not end by themselves.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitTimeout     = 124
	exitInterrupted = 130
	exitKilled      = 137
)

// globals are the flags of every command.
type globals struct {
	Home     string     `help:"Folder for sessions, images and the token." default:"${home}" type:"path" group:"Global flags:"`
	LogLevel slog.Level `help:"Lowest level to log: debug, info, warn or error." default:"${loglevel}" group:"Global flags:"`
}

// terminal holds the streams and the logger of a command.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	log      *slog.Logger
}

// exitError ends the program with this status and prints no message.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// obeyed returns the signals that this process must handle. Ignored signals are left out: asking for SIGHUP
// would undo nohup. SIGTERM is always included.
func obeyed(signals ...os.Signal) []os.Signal {
	return slices.DeleteFunc(signals, func(s os.Signal) bool { return s != syscall.SIGTERM && signal.Ignored(s) })
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// inputTerminal returns in as a terminal, or nil if it is not one.
func inputTerminal(in io.Reader) *os.File {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// withoutMark removes a leading "--", which kong leaves in the arguments.
func withoutMark(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

// plainly reduces an error to its message for people, if it has one.
func plainly(err error) error {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return errors.New(e.Message)
	}
	return err
}

// printable returns untrusted text as one harmless line for a table.
func printable(text string) string {
	var out strings.Builder
	(&screen{w: &out, mono: true}).WriteString(strings.Join(strings.Fields(text), " "))
	return out.String()
}
