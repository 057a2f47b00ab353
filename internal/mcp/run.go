package mcp

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"cellhold"
	"cellhold/client"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// actTime limits a step that continues when its call is cancelled.
const actTime = time.Minute

// RunCode is the argument of run_code.
type RunCode struct {
	Code     string  `json:"code"`
	Language string  `json:"language,omitempty" jsonschema:"python (default), bash, or another kernel of the image such as r"`
	ID       string  `json:"session_id,omitempty" jsonschema:"omit it for the default session"`
	Timeout  float64 `json:"timeout,omitempty" jsonschema:"seconds until the code is interrupted"`
}

// Wait is the argument of wait.
type Wait struct {
	Cell string `json:"cell_id" jsonschema:"id of the cell (c…) or the command (x…)"`
	ID   string `json:"session_id,omitempty"`
}

// RunCommand is the argument of run_command.
type RunCommand struct {
	Command string  `json:"command" jsonschema:"a shell line"`
	ID      string  `json:"session_id,omitempty"`
	Timeout float64 `json:"timeout,omitempty" jsonschema:"seconds until the command is killed"`
}

// duration converts seconds. The server checks the limits; more than a year would overflow.
func duration(seconds float64) (time.Duration, error) {
	const most = 365 * 24 * time.Hour
	if !(seconds >= 0 && seconds <= most.Seconds()) {
		return 0, cellhold.Errorf(cellhold.Invalid, "Invalid timeout %v: use a number of seconds above 0.", seconds)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func (c call) runCode(ctx context.Context, in RunCode) (*sdk.CallToolResult, error) {
	timeout, err := duration(in.Timeout)
	if err != nil {
		return nil, err
	}
	waiting, cancel := c.patience(ctx)
	defer cancel()
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	kernel, err := c.kernel(ctx, id, in.Language)
	if err != nil {
		return nil, err
	}
	// If the call is cancelled here, the cell's id must still arrive: only with it can the cell be cancelled.
	acting, done := c.acting(ctx, actTime)
	defer done()
	cell, err := c.caller.Client.Submit(acting, id, client.Code{Code: in.Code, Kernel: kernel, Timeout: timeout})
	if err != nil {
		return nil, err
	}
	if err := checkID('c', string(cell.ID)); err != nil {
		return nil, err
	}
	cell, err = c.awaitCell(ctx, waiting, id, cell)
	if errors.Is(context.Cause(ctx), errClosing) {
		return c.showCell(ctx, cell, note), nil // the cell continues
	}
	if ctx.Err() != nil && cell.State != cellhold.CellDone {
		acting, done := c.acting(ctx, actTime)
		defer done()
		// A conflict means that the cell is done.
		if _, err := c.caller.Client.Cancel(acting, id, cell.ID); err != nil && cellhold.KindOf(err) != cellhold.Conflict {
			return nil, err
		}
		return nil, fmt.Errorf("the call was cancelled, and cell %s was interrupted", cell.ID)
	}
	if err != nil {
		return nil, submitted("Cell", string(cell.ID), err)
	}
	return c.showCell(ctx, cell, note), nil
}

// submitted returns the error of a wait. A model that runs the code again would run it twice.
func submitted(what, id string, err error) error {
	text := err.Error()
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		text = e.Message
	}
	return fmt.Errorf("%s %s was submitted and may still run: call wait with cell_id %q. The wait failed: %s", what, id, id, text)
}

// patience returns a context that ends when the call must answer, even if its cell still runs.
func (c call) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Wait)
	leave := c.waits.enter(cancel)
	return ctx, func() { leave(); cancel() }
}

// awaitCell returns a cell when it is done or when waiting ends. If waiting ends first, the cell has its outputs so
// far. With an error, it returns the cell that it got.
func (c call) awaitCell(ctx, waiting context.Context, id cellhold.SessionID, cell cellhold.Cell) (cellhold.Cell, error) {
	stop := c.report(waiting, func(ctx context.Context) iter.Seq2[cellhold.Event, error] {
		return c.caller.Client.Watch(ctx, id, max(cell.First-1, 0))
	}, func(e cellhold.Event) bool { return e.Cell == cell.ID })
	defer stop()
	done, err := c.caller.Client.Wait(waiting, id, cell.ID)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		done, err = c.caller.Client.Cell(ctx, id, cell.ID)
	}
	if err != nil {
		return cell, err
	}
	return done, nil
}

func (c call) wait(ctx context.Context, in Wait) (*sdk.CallToolResult, error) {
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	waiting, cancel := c.patience(ctx)
	defer cancel()
	if strings.HasPrefix(in.Cell, "x") {
		if err := checkID('x', in.Cell); err != nil {
			return nil, err
		}
		command, err := c.caller.Client.Command(ctx, id, cellhold.CommandID(in.Cell))
		if err == nil {
			command, err = c.awaitCommand(ctx, waiting, id, command)
		}
		if err != nil {
			return nil, err
		}
		return c.showCommand(command, note), nil
	}
	if err := checkID('c', in.Cell); err != nil {
		return nil, err
	}
	cell, err := c.caller.Client.Cell(ctx, id, cellhold.CellID(in.Cell))
	if err == nil && cell.State != cellhold.CellDone {
		cell, err = c.awaitCell(ctx, waiting, id, cell)
	}
	if err != nil {
		return nil, err
	}
	return c.showCell(ctx, cell, note), nil
}

func (c call) runCommand(ctx context.Context, in RunCommand) (*sdk.CallToolResult, error) {
	timeout, err := duration(in.Timeout)
	if err != nil {
		return nil, err
	}
	waiting, cancel := c.patience(ctx)
	defer cancel()
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	command, err := c.start(ctx, id, client.Run{Line: in.Command, Timeout: timeout})
	if err != nil {
		return nil, err
	}
	command, err = c.awaitCommand(ctx, waiting, id, command)
	if errors.Is(context.Cause(ctx), errClosing) {
		return c.showCommand(command, note), nil // the command continues
	}
	if ctx.Err() != nil && command.State != cellhold.CommandDone {
		acting, done := c.acting(ctx, actTime)
		defer done()
		if err := c.caller.Client.EndCommand(acting, id, command.ID); err != nil && cellhold.KindOf(err) != cellhold.NotFound {
			return nil, err
		}
		return nil, fmt.Errorf("the call was cancelled, and command %s was killed", command.ID)
	}
	if err != nil {
		return nil, submitted("Command", string(command.ID), err)
	}
	return c.showCommand(command, note), nil
}

// start starts a command whose input is at its end. It does both even if the call is cancelled, for the id.
func (c call) start(ctx context.Context, id cellhold.SessionID, r client.Run) (cellhold.Command, error) {
	acting, done := c.acting(ctx, actTime)
	defer done()
	command, err := c.caller.Client.StartCommand(acting, id, r)
	if err != nil {
		return command, err
	}
	// A conflict means that the command is done.
	_, err = c.caller.Client.WriteCommand(acting, id, command.ID, nil, 0, true)
	if err != nil && cellhold.KindOf(err) != cellhold.Conflict {
		// The command waits for input, and the model does not know its id.
		return command, errors.Join(err, c.caller.Client.EndCommand(acting, id, command.ID))
	}
	return command, nil
}

// awaitCommand is awaitCell for commands.
func (c call) awaitCommand(ctx, waiting context.Context, id cellhold.SessionID, command cellhold.Command) (cellhold.Command, error) {
	if command.State == cellhold.CommandDone {
		return command, nil
	}
	stop := c.report(waiting, func(ctx context.Context) iter.Seq2[cellhold.Event, error] {
		return c.caller.Client.WatchCommand(ctx, id, command.ID, max(command.First-1, 0))
	}, func(cellhold.Event) bool { return true })
	defer stop()
	done, err := c.caller.Client.WaitCommand(waiting, id, command.ID)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		done, err = c.caller.Client.Command(ctx, id, command.ID)
	}
	if err != nil {
		return command, err
	}
	return done, nil
}

// languages has other names of languages.
var languages = map[string]string{"py": "python", "python3": "python", "sh": "bash", "shell": "bash", "js": "javascript", "node": "javascript", "ts": "typescript"}

// kernel returns the kernel for a language. It adds the kernel on the first use of the language.
func (c call) kernel(ctx context.Context, id cellhold.SessionID, language string) (cellhold.KernelID, error) {
	if language == "" {
		return "", nil
	}
	wanted := strings.ToLower(language)
	if name := languages[wanted]; name != "" {
		wanted = name
	}
	is := func(names ...string) bool {
		for _, name := range names {
			if name = strings.ToLower(name); name == wanted || languages[name] == wanted {
				return true
			}
		}
		return false
	}
	kernels, err := c.caller.Client.Kernels(ctx, id)
	if err != nil {
		return "", err
	}
	for _, k := range kernels {
		if is(k.Language, k.Spec, string(k.ID)) {
			return k.ID, nil
		}
	}
	specs, err := c.caller.Client.KernelSpecs(ctx, id)
	if err != nil {
		return "", err
	}
	var known []string
	for _, spec := range specs {
		if is(spec.Language, spec.Name, spec.DisplayName) {
			return c.addKernel(ctx, id, spec.Name)
		}
		known = append(known, shown(spec.Name))
	}
	return "", cellhold.Errorf(cellhold.Invalid, "There is no kernel for %.40q. This session can start: %s.", language, strings.Join(known, ", "))
}

// addKernel starts a kernel with a fixed id, so that two calls at the same time start one kernel.
func (c call) addKernel(ctx context.Context, id cellhold.SessionID, spec string) (cellhold.KernelID, error) {
	acting, done := c.acting(ctx, actTime)
	defer done()
	k, err := c.caller.Client.AddKernel(acting, id, spec, cellhold.KernelID(spec))
	if err != nil && cellhold.KindOf(err) == cellhold.Conflict {
		kernels, listErr := c.caller.Client.Kernels(acting, id)
		if listErr != nil {
			return "", listErr
		}
		for _, k := range kernels {
			if k.ID == cellhold.KernelID(spec) {
				return k.ID, nil
			}
		}
	}
	return k.ID, err
}
