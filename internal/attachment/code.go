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
	// codeAtOnce is the number of package requests of code that are accepted at the same time: one that runs,
	// and one that waits.
	codeAtOnce = 2
	// codeRate and codeBurst limit how often the server reads package requests of code. Above the limit, the
	// code waits.
	codeRate  = rate.Limit(1)
	codeBurst = 20
	// maxProgress is the maximum number of lines about an installation that wait to be sent to the code.
	maxProgress = 50
	// firstCodeRetry and lastCodeRetry are the shortest and the longest pause after a connection failed.
	firstCodeRetry = 100 * time.Millisecond
	lastCodeRetry  = 5 * time.Second
)

// serveCode answers package requests of code in the sandbox until ctx ends. These requests take turns with
// those of callers, and are recorded in the same way.
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
		if ctx.Err() != nil || kind == cellhold.NotFound { // an older agent does not have this feature
			return
		}
		a.o.Logger.Debug("waiting for package requests of code", "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, lastCodeRetry)
	}
}

// answerCode answers one request. Like a caller's request, the request continues if the code disconnects.
func (a *Attachment) answerCode(ctx context.Context, c *guest.CodeConn) {
	defer c.Close()
	defer context.AfterFunc(ctx, c.Hurry)() // a.Close waits until this request is answered
	if c.Wait() != nil {
		return // nothing was started
	}
	done := make(chan guestapi.CodeDone, 1)
	lines := make(chan string, maxProgress)
	say := func(line string) {
		select {
		case lines <- line:
		default: // code that does not read misses lines
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
			_ = c.Done(d) // fails if the code disconnected
			return
		case line := <-lines:
			_ = c.Say(line)
		case <-beat.C:
			_ = c.Wait()
		}
	}
}

// changeForCode installs or removes packages that code requests, within the operator's policy.
func (a *Attachment) changeForCode(ctx context.Context, r guestapi.CodeRequest, say func(string)) (cellhold.Installation, error) {
	p := a.o.Packages
	plan, refusal := packages.Plan{}, error(nil)
	if len(r.Remove) > 0 {
		if err := p.RemovableByCode(); err != nil {
			return cellhold.Installation{}, err
		}
		if len(r.Remove) > guestapi.MaxRequirements {
			return cellhold.Installation{}, cellhold.Errorf(cellhold.Invalid, "The request removes %d packages; the limit is %d for one request.", len(r.Remove), guestapi.MaxRequirements)
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

// PlanOfCode checks a package request of code, and counts it.
func (a *Attachment) PlanOfCode(r packages.Request) (packages.Plan, error) {
	return a.o.Packages.PlanOfCode(r, a.o.Tally)
}
