// Package console has what commands need at a terminal: it makes untrusted text harmless, formats sizes, shortens
// errors, and defines the exit statuses.
//
// It does not know any command. Text of sandboxes must pass through Screen or Printable before it reaches a terminal.
package console

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

// Globals are the flags of every command.
type Globals struct {
	Home     string     `help:"Folder for sessions, images and the token." default:"${home}" type:"path" group:"Global flags:"`
	Images   string     `help:"Folder of images. Default: the folder images in the home." type:"path" placeholder:"DIR" group:"Global flags:"`
	LogLevel slog.Level `help:"Lowest level to log: debug, info, warn or error." default:"${loglevel}" group:"Global flags:"`
}

// Terminal holds the streams, the logger and the environment of a command.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer
	Log      *slog.Logger
	Environ  []string // the environment of the program
}

// Getenv returns a variable of the environment, or "".
func (t *Terminal) Getenv(name string) string {
	for _, entry := range slices.Backward(t.Environ) {
		if key, value, _ := strings.Cut(entry, "="); key == name {
			return value
		}
	}
	return ""
}

// Colours reports whether texts written to w can have colours: w is a terminal, and NO_COLOR is not set (no-color.org).
func (t *Terminal) Colours(w io.Writer) bool { return IsTerminal(w) && t.Getenv("NO_COLOR") == "" }

// ExitError ends the program with this status and prints no message.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// UsageError is a wrong use of the command line, the environment or the configuration file. The program ends with
// ExitUsage.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

func (e UsageError) Unwrap() error { return e.Err }

// Usage returns err as a UsageError, or nil if err is nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return UsageError{err}
}

// Handled returns the signals that this process must handle. Ignored signals are left out: a handler of SIGHUP
// would undo nohup. SIGTERM is always included.
func Handled(signals ...os.Signal) []os.Signal {
	return slices.DeleteFunc(signals, func(s os.Signal) bool { return s != syscall.SIGTERM && signal.Ignored(s) })
}

func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// InputTerminal returns in as a terminal, or nil if it is not one.
func InputTerminal(in io.Reader) *os.File {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// WithoutMark removes a leading "--", which kong leaves in the arguments.
func WithoutMark(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

// message is the message of an error for people. It keeps the kind, which decides the exit status.
type message struct {
	text string
	kind cellhold.Kind
}

func (m message) Error() string { return m.text }

// Message reduces an error to its message for people, if it has one.
func Message(err error) error {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return message{e.Message, e.Kind}
	}
	return err
}

// backwards replaces the characters that move the cursor back, so that no text covers another one.
var backwards = strings.NewReplacer("\r", " ", "\b", " ")

// Sentence returns the message of an error as harmless text. Line feeds stay, because a list of errors has one on each line.
func Sentence(err error) string {
	var out strings.Builder
	s := &Screen{W: &out, Mono: true}
	_, _ = s.WriteString(backwards.Replace(Message(err).Error()))
	return out.String()
}

// Printable returns untrusted text as one harmless line for a table.
func Printable(text string) string {
	var out strings.Builder
	(&Screen{W: &out, Mono: true}).WriteString(strings.Join(strings.Fields(backwards.Replace(text)), " "))
	return out.String()
}
