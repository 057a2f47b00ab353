package guestapi

import (
	"time"

	"cellhold"
)

// Bounds of commands that both sides keep.
const (
	// MaxArg is the most bytes of one argument or variable, with its end: what Linux allows.
	MaxArg = 128<<10 - 1
	// MaxArgs is the most bytes of all arguments and variables together: half of what Linux
	// allows, because each also costs a pointer there.
	MaxArgs = 1 << 20
	// MaxArgCount is the most arguments and variables, so that empty ones have a bound too.
	MaxArgCount = 16 << 10
	// MaxInput is the most bytes of standard input in one request.
	MaxInput = 1 << 20
	// MaxCommands is the most commands that run at once in one sandbox. Each has its pipes and
	// some memory in the agent.
	MaxCommands = 32
	// CommandSpool bounds the events of all commands that the agent keeps. With it full, commands
	// wait when they write; see the package agent/command for how long.
	CommandSpool = 8 << 20
)

// StartCommand asks for a command: Line or Args, not both.
type StartCommand struct {
	Line     string             `json:"line,omitempty"` // for bash -c, or sh -c where there is no bash
	Args     []string           `json:"args,omitempty"` // a program and its arguments
	Env      map[string]string  `json:"env,omitempty"`  // added to that of all commands
	Dir      string             `json:"dir,omitempty"`  // empty means that of all commands
	Timeout  time.Duration      `json:"timeout"`        // nanoseconds; must be positive
	Terminal *cellhold.Terminal `json:"terminal,omitempty"`
}

// Input says how much of a command's standard input has been taken so far, over all requests.
type Input struct {
	Offset int64 `json:"offset"`
}

// Signal asks for a signal, by its number, to the process group of a command.
type Signal struct {
	Number int `json:"number"`
}
