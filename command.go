package cellhold

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// CommandID names a command for ever: 'x' and 16 letters or digits.
type CommandID string

// NewCommandID returns a fresh random id.
func NewCommandID() CommandID { return CommandID("x" + randomName()) }

// CommandState is where a command is in its life.
type CommandState string

// The states of a command, in order.
const (
	CommandRunning CommandState = "running"
	CommandDone    CommandState = "done"
)

// CommandStatus is how a command ended.
type CommandStatus string

// The ways a command ends.
const (
	CommandOK      CommandStatus = "ok"      // it exited with 0
	CommandExit    CommandStatus = "exit"    // it exited with another number
	CommandSignal  CommandStatus = "signal"  // a signal ended it
	CommandTimeout CommandStatus = "timeout" // its deadline passed
	CommandOOM     CommandStatus = "oom"     // memory ran out
	CommandLost    CommandStatus = "lost"    // the sandbox is gone, or it never started
)

// Terminal is the size of a terminal.
type Terminal struct {
	Rows int `json:"rows" minimum:"1" maximum:"1000" doc:"Lines." example:"24"`
	Cols int `json:"cols" minimum:"1" maximum:"1000" doc:"Characters in a line." example:"80"`
}

// Command is one program that runs in a session's sandbox beside the kernel, and its fate.
type Command struct {
	ID       CommandID     `json:"id" doc:"Identifies the command." example:"x7kq2w9d4hx5n3vtb"`
	Session  SessionID     `json:"session" doc:"The session it belongs to."`
	Line     string        `json:"command,omitempty" doc:"What a shell runs, when it was given as one line."`
	Args     []string      `json:"args,omitempty" doc:"The program and its arguments, when it was given so."`
	Dir      string        `json:"cwd,omitempty" doc:"Where it was started; /workspace when absent."`
	Terminal *Terminal     `json:"tty,omitempty" doc:"The size that its terminal began with, when it has one."`
	State    CommandState  `json:"state" enum:"running,done" doc:"Where it is in its life."`
	Status   CommandStatus `json:"status,omitempty" enum:"ok,exit,signal,timeout,oom,lost" doc:"How it ended."`
	Code     int           `json:"exit_code" doc:"Its exit status, when it exited; as in a shell, 128 and the number of the signal when one ended it."`
	Signal   string        `json:"signal,omitempty" doc:"The signal that ended it." example:"KILL"`
	Cause    string        `json:"cause,omitempty" doc:"One sentence on how it ended, when the status alone does not tell."`
	WaitOver bool          `json:"wait_over,omitempty" doc:"In an answer to a request with wait: the wait ended before the command did. The command goes on, and the status of the answer is 202. Ask again, with wait."`
	Started  time.Time     `json:"started" doc:"When it was accepted."`
	Ended    time.Time     `json:"ended,omitzero" doc:"When it was done."`
	First    int64         `json:"first" doc:"Number of the command's first event."`
	Last     int64         `json:"last,omitempty" doc:"Number of the command's last event."`
	Dropped  int64         `json:"dropped,omitempty" doc:"Bytes of output that were not kept, in no event either."`
	Stdout   CommandOutput `json:"stdout" doc:"What it wrote to its standard output, or to its terminal."`
	Stderr   CommandOutput `json:"stderr" doc:"What it wrote to its standard error."`
}

// CommandOutput is what a command wrote to one stream: all of it, or its beginning and its end. The
// whole is in the command's events.
type CommandOutput struct {
	Text     string `json:"text" doc:"The output; only its beginning when something is omitted."`
	Tail     string `json:"tail,omitempty" doc:"The end of the output, when something is omitted."`
	Encoding string `json:"encoding,omitempty" enum:"base64" doc:"base64 when the output is no text in UTF-8; text and tail are encoded so, each for itself."`
	Bytes    int64  `json:"bytes" doc:"How many bytes it wrote."`
	Omitted  int64  `json:"omitted,omitempty" doc:"How many of them are not here, between text and tail."`
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
	Code   int           `json:"exit_code"`        // 128 and the number, when a signal ended it
	Signal string        `json:"signal,omitempty"` // its name, without SIG
	Cause  string        `json:"cause,omitempty"`  // one sentence, when the status alone does not tell
}

// signals are the names of signals by their numbers, which are the same on all of Linux's usual
// processors.
var signals = []string{"", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
	"PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM",
	"PROF", "WINCH", "IO", "PWR", "SYS"}

// SignalName returns the name of a signal without SIG, or its number where it has no name.
func SignalName(number int) string {
	if number > 0 && number < len(signals) {
		return signals[number]
	}
	return strconv.Itoa(number)
}

// SignalNumber returns the number of a signal that is given by its name, with or without SIG, or by
// its number; 0 when there is none.
func SignalNumber(name string) int {
	const most = 64 // the last real-time signal
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= most {
		return n
	}
	return max(slices.Index(signals, strings.TrimPrefix(strings.ToUpper(name), "SIG")), 0)
}
