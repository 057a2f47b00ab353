package cellhold

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// CommandID identifies a command permanently: 'x' and 16 letters or digits.
type CommandID string

// NewCommandID returns a new random id.
func NewCommandID() CommandID { return CommandID("x" + randomName()) }

// CommandState is the state of a command.
type CommandState string

// The states of a command, in order.
const (
	CommandRunning CommandState = "running"
	CommandDone    CommandState = "done"
)

// CommandStatus is the result of a command.
type CommandStatus string

// The results of a command.
const (
	CommandOK      CommandStatus = "ok"      // the exit status is 0
	CommandExit    CommandStatus = "exit"    // the exit status is not 0
	CommandSignal  CommandStatus = "signal"  // a signal ended the command
	CommandTimeout CommandStatus = "timeout" // the timeout passed
	CommandOOM     CommandStatus = "oom"     // the sandbox had no memory left
	CommandLost    CommandStatus = "lost"    // the sandbox is gone, or the command never started
)

// Terminal is the size of a terminal.
type Terminal struct {
	Rows int `json:"rows" minimum:"1" maximum:"1000" doc:"Number of lines." example:"24"`
	Cols int `json:"cols" minimum:"1" maximum:"1000" doc:"Number of characters in a line." example:"80"`
}

// Command is one program that runs in a session's sandbox outside the kernels, with its output and its
// result.
type Command struct {
	ID       CommandID     `json:"id" doc:"Command id." example:"x7kq2w9d4hx5n3vtb"`
	Session  SessionID     `json:"session" doc:"Session of the command."`
	Line     string        `json:"command,omitempty" doc:"Shell line, if the request had one."`
	Args     []string      `json:"args,omitempty" doc:"Program and arguments, if the request had no shell line."`
	Dir      string        `json:"cwd,omitempty" doc:"Working directory. Absent means /workspace."`
	Tag      string        `json:"tag,omitempty" doc:"Label of the caller."`
	PID      int           `json:"pid,omitempty" doc:"Process id in the sandbox." example:"212"`
	Terminal *Terminal     `json:"tty,omitempty" doc:"Initial size of the terminal, if the command has one."`
	State    CommandState  `json:"state" enum:"running,done" doc:"State of the command."`
	Status   CommandStatus `json:"status,omitempty" enum:"ok,exit,signal,timeout,oom,lost" doc:"Result of the command, if its state is done."`
	Code     int           `json:"exit_code" doc:"Exit status. If a signal ended the command, 128 plus the signal's number, as in a shell."`
	Signal   string        `json:"signal,omitempty" doc:"Signal that ended the command." example:"KILL"`
	Cause    string        `json:"cause,omitempty" doc:"One sentence that explains the status, if it needs one."`
	WaitOver bool          `json:"wait_over,omitempty" doc:"True if the request's wait ended before the command was done. The command continues, and the HTTP status is 202. Send get-command with wait to wait longer."`
	Started  time.Time     `json:"started" doc:"Time at which the server accepted the command."`
	Ended    time.Time     `json:"ended,omitzero" doc:"Time at which the command was done."`
	First    int64         `json:"first" doc:"Number of the first event of the command."`
	Last     int64         `json:"last,omitempty" doc:"Number of the last event of the command."`
	Dropped  int64         `json:"dropped,omitempty" doc:"Bytes of output that were not stored. They are in no event."`
	Stdout   CommandOutput `json:"stdout" doc:"Standard output, or the output of the terminal."`
	Stderr   CommandOutput `json:"stderr" doc:"Standard error."`
}

// CommandOutput is the output of a command on one stream: all of it, or the beginning and the end. The
// command's events have all of it.
type CommandOutput struct {
	Text     string `json:"text" doc:"The output. If bytes are omitted, only its beginning."`
	Tail     string `json:"tail,omitempty" doc:"The end of the output, if bytes are omitted."`
	Encoding string `json:"encoding,omitempty" enum:"base64" doc:"base64 if the output is not valid UTF-8. Then text and tail are each encoded in base64."`
	Bytes    int64  `json:"bytes" doc:"Bytes that the command wrote."`
	Omitted  int64  `json:"omitted,omitempty" doc:"Bytes that are omitted between text and tail."`
}

// CommandStartedContent is the content of command_started, the first event of a command.
type CommandStartedContent struct {
	Line     string    `json:"command,omitempty"`
	Args     []string  `json:"args,omitempty"`
	Dir      string    `json:"cwd,omitempty"`
	Terminal *Terminal `json:"tty,omitempty"`
}

// CommandDoneContent is the content of command_done, the last event of a command.
type CommandDoneContent struct {
	Status CommandStatus `json:"status"`
	Code   int           `json:"exit_code"`        // 128 plus the signal's number, if a signal ended the command
	Signal string        `json:"signal,omitempty"` // its name, without SIG
	Cause  string        `json:"cause,omitempty"`  // one sentence that explains the status, if it needs one
}

// signals are the names of signals by number. The numbers are the same on all usual processors of Linux.
var signals = []string{"", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
	"PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM",
	"PROF", "WINCH", "IO", "PWR", "SYS"}

// SignalName returns the name of a signal without SIG. A signal without a name gives its number.
func SignalName(number int) string {
	if number > 0 && number < len(signals) {
		return signals[number]
	}
	return strconv.Itoa(number)
}

// SignalNumber returns the number of a signal from its name, with or without SIG, or from its number. It
// returns 0 for an unknown signal.
func SignalNumber(name string) int {
	const most = 64 // the last real-time signal
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= most {
		return n
	}
	return max(slices.Index(signals, strings.TrimPrefix(strings.ToUpper(name), "SIG")), 0)
}
