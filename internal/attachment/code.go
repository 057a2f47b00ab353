package attachment

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/packages"
)

const (
	// codeAtOnce is how many requests of code are taken at a time: one that is worked on, and one that waits
	// and is told so.
	codeAtOnce = 2
	// codeRate and codeBurst bound how often the server looks at requests of code. Beyond it the code waits.
	codeRate  = rate.Limit(1)
	codeBurst = 20
	// maxProgress is how many lines about an installation wait to be written to its code.
	maxProgress = 50
	// firstCodeRetry and lastCodeRetry are the pauses after the guest gave no connection.
	firstCodeRetry = 100 * time.Millisecond
	lastCodeRetry  = 5 * time.Second
)

// serveCode answers the code in the sandbox that asks for packages, until the context ends. Its requests take
// turns with those of callers, and are recorded as those are.
func (a *Attachment) serveCode(ctx context.Context) {
	var run sync.WaitGroup
	defer run.Wait()
	slots := make(chan struct{}, codeAtOnce)
	pace := rate.NewLimiter(codeRate, codeBurst)
	pause := firstCodeRetry
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if pace.Wait(ctx) != nil {
			return
		}
		c, err := a.client.NextCode(ctx)
		if err == nil {
			pause = firstCodeRetry
			run.Go(func() {
				defer func() { <-slots }()
				a.answerCode(ctx, c)
			})
			continue
		}
		<-slots
		kind := cellhold.KindOf(err)
		if ctx.Err() != nil || kind == cellhold.NotFound { // an older agent
			return
		}
		a.o.Logger.Debug("no request of code for packages", "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, lastCodeRetry)
	}
}

// answerCode answers one request. It continues when the code leaves, as a request of a caller does.
func (a *Attachment) answerCode(ctx context.Context, c *guest.CodeConn) {
	defer c.Close()
	defer context.AfterFunc(ctx, c.Hurry)() // Close of the attachment waits for this
	if c.Wait() != nil {
		return // nothing has begun
	}
	done := make(chan guestapi.CodeDone, 1)
	lines := make(chan string, maxProgress)
	say := func(line string) {
		select {
		case lines <- line:
		default: // code that does not read misses some
		}
	}
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { done <- packages.ForCode(a.changeForCode(ctx, c.Request, say)) })
	beat := time.NewTicker(guestapi.CodeBeat)
	defer beat.Stop()
	for {
		select {
		case d := <-done:
			if ctx.Err() != nil {
				d = guestapi.CodeDone{Error: "The server stopped, or detached from the session, and ended the installation. Run it again."}
			}
			for len(lines) > 0 {
				_ = c.Say(<-lines)
			}
			_ = c.Done(d) // the code may have left
			return
		case line := <-lines:
			_ = c.Say(line)
		case <-beat.C:
			_ = c.Wait()
		}
	}
}

// changeForCode installs or removes the packages that code asks for, as far as the operator allows it.
func (a *Attachment) changeForCode(ctx context.Context, r guestapi.CodeRequest, say func(string)) (cellhold.Installation, error) {
	p := a.o.Packages
	plan, refusal := packages.Plan{}, error(nil)
	if len(r.Remove) > 0 {
		if err := p.RemovableByCode(); err != nil {
			return cellhold.Installation{}, err
		}
		if len(r.Remove) > guestapi.MaxRequirements {
			return cellhold.Installation{}, cellhold.Errorf(cellhold.Invalid, "The request removes %d packages; at most %d can be removed at once.", len(r.Remove), guestapi.MaxRequirements)
		}
	} else {
		plan, refusal = a.PlanOfCode(packages.Request{Requirements: r.Requirements, File: r.File, Upgrade: r.Upgrade, Alone: r.Alone})
	}
	if a.o.Enter != nil {
		leave, err := a.o.Enter(ctx)
		if err != nil {
			return cellhold.Installation{}, err
		}
		defer leave()
	}
	if len(r.Remove) > 0 {
		return a.remove(ctx, r.Remove, true)
	}
	return a.carryOut(ctx, plan.Said(say), refusal, true)
}

// PlanOfCode checks what the code of the session asks for, and counts it.
func (a *Attachment) PlanOfCode(r packages.Request) (packages.Plan, error) {
	return a.o.Packages.PlanOfCode(r, a.o.Tally)
}
