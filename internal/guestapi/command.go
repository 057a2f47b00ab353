package guestapi

import (
	"time"

	"cellhold"
)

// Bounds of commands, which both sides keep.
const (
	// MaxArg is the limit of one argument or variable in bytes. Linux allows one byte more, for the zero byte
	// at the end.
	MaxArg = 128<<10 - 1
	// MaxArgs is the limit of all arguments and variables together, in bytes. Linux allows twice as much, but
	// also counts a pointer for each of them.
	MaxArgs = 1 << 20
	// MaxArgCount is the limit of the number of arguments and variables. Empty ones have no bytes, so MaxArgs
	// does not bound them.
	MaxArgCount = 16 << 10
	// MaxInput is the limit of standard input in one request, in bytes.
	MaxInput = 1 << 20
	// MaxCommands is the limit of commands that run at the same time in one sandbox. Each has pipes and
	// some memory in the agent.
	MaxCommands = 32
	// CommandSpool bounds the events of all commands that the agent keeps, in bytes. When the spool is full, a
	// command that writes waits; package agent/command says how long.
	CommandSpool = 8 << 20
)

// StartCommand asks for a command. It has either Line or Args.
type StartCommand struct {
	Line     string             `json:"line,omitempty"` // for bash -c, or for sh -c if there is no bash
	Args     []string           `json:"args,omitempty"` // a program and its arguments
	Env      map[string]string  `json:"env,omitempty"`  // added to the environment of all commands
	Dir      string             `json:"dir,omitempty"`  // empty means the directory of all commands
	Timeout  time.Duration      `json:"timeout"`        // nanoseconds; must be positive
	Terminal *cellhold.Terminal `json:"terminal,omitempty"`
}

// Started is the answer to StartCommand.
type Started struct {
	PID int `json:"pid,omitempty"` // process id in the sandbox; 0 if no process runs
}

// Input says how much standard input a command has received, over all requests.
type Input struct {
	Offset int64 `json:"offset"`
}

// Signal asks for a signal to the process group of a command.
type Signal struct {
	Number int `json:"number"`
}
