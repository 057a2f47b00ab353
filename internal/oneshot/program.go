package oneshot

import (
	"context"
	"slices"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
)

// exitNotFound is the exit status of a command whose program does not exist.
const exitNotFound = 127

// feedPause is the pause after an attempt to send standard input to a command that does not read.
const feedPause = time.Second

// runProgram runs the program once.
func (j *job) runProgram(ctx context.Context) error {
	c, err := j.command(ctx, j.plan.argv(nil), j.plan.request.Stdin, j.plan.timeout)
	if err != nil {
		return err
	}
	if err := j.checkTool(c, j.plan.language.run); err != nil {
		return err
	}
	j.takeCommand(c)
	return nil
}

// compile compiles the program. It returns false if the program is not compiled; the result then has the reason.
func (j *job) compile(ctx context.Context) (bool, error) {
	compiler := j.plan.language.compile
	if len(compiler) == 0 {
		return true, nil
	}
	killed := j.attachment.OOMKills(ctx)
	c, err := j.command(ctx, compiler, "", compileTimeout)
	if err != nil {
		return false, err
	}
	if err := j.checkTool(c, compiler); err != nil || c.Status == cellhold.CommandOK {
		return err == nil, err
	}
	// A compiler reports the end of its own processes as an error in the code.
	if c.Status == cellhold.CommandExit && j.attachment.OOMKills(ctx) > killed {
		c.Status, c.Cause = cellhold.CommandOOM, "A process of the compiler was killed because the run exceeded its memory limit."
	}
	j.takeCommand(c)
	if c.Status == cellhold.CommandExit {
		j.result.Status = cellhold.RunCompileError
	}
	if c.Cause != "" {
		j.result.Cause = "The code was not compiled. " + c.Cause
	}
	return false, nil
}

// argv returns the program with its arguments, or nil for a shell line.
func (p *plan) argv(more []string) []string {
	if p.request.Command != "" {
		return nil
	}
	return slices.Concat(p.language.run, p.request.Args, more)
}

// commandOf returns the command that runs args. Without args, it runs the shell line of the request.
func (p *plan) commandOf(args []string) attachment.CommandRequest {
	r := attachment.CommandRequest{Args: args, Env: p.request.Env}
	if len(args) == 0 {
		r.Line = p.request.Command
	}
	return r
}

// checkTool returns an error if the image does not have the first of these words. Only a command that did not start has
// a cause with this exit status. The compiled program is no tool: the compiler made it, or failed to.
func (j *job) checkTool(c cellhold.Command, words []string) error {
	if len(words) == 0 || words[0] == built || c.Code != exitNotFound || c.Cause == "" {
		return nil
	}
	return toolMissing(j.plan.language, words[0], j.session.Info().Image)
}

// command runs a command until it is done. See commandOf.
func (j *job) command(ctx context.Context, args []string, stdin string, timeout time.Duration) (cellhold.Command, error) {
	timeout, err := j.left(timeout)
	if err != nil {
		return cellhold.Command{}, err
	}
	r := j.plan.commandOf(args)
	r.NoInput, r.Timeout = stdin == "", timeout
	c, err := j.attachment.StartCommand(ctx, r)
	if err != nil {
		return c, err
	}
	feeding, stop := context.WithCancel(ctx)
	var feeder sync.WaitGroup
	if stdin != "" {
		feeder.Go(func() { j.feed(feeding, c.ID, stdin) })
	}
	waiting, cancel := context.WithTimeoutCause(ctx, timeout+grace, errStuck)
	defer cancel()
	c, err = j.session.History().WaitCommand(waiting, c.ID)
	stop()
	feeder.Wait()
	if err != nil {
		return c, stuckOr(waiting, err)
	}
	return c, nil
}

// feed sends standard input until the command has all of it, closes its input or ends.
func (j *job) feed(ctx context.Context, id cellhold.CommandID, stdin string) {
	run := j.attachment.Followers().Commands()
	for ctx.Err() == nil {
		// Bytes that the command has already are skipped. Exhausted means that the command does not read now.
		_, err := run.Input(ctx, id, []byte(stdin), 0, true)
		if cellhold.KindOf(err) != cellhold.Exhausted {
			return
		}
		select {
		case <-time.After(feedPause): // an agent that answers at once would make the server send the input all the time
		case <-ctx.Done():
		}
	}
}
