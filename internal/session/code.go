package session

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
	// codeRate and codeBurst bound how fast code can have the host look at requests. Beyond it the code waits.
	codeRate  = rate.Limit(1)
	codeBurst = 20
	// maxSaid is how many lines about an installation wait to be written to its code.
	maxSaid = 50
	// firstCodeRetry and lastCodeRetry are the pauses after the guest gave no connection.
	firstCodeRetry = 100 * time.Millisecond
	lastCodeRetry  = 5 * time.Second
)

// hearCode serves the code in a sandbox that asks for packages, until the context ends. Code comes by the
// same way as a caller: its requests take turns with those of callers, and are recorded as those are.
func (s *Session) hearCode(ctx context.Context, client *guest.Client) {
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
		c, err := client.NextCode(ctx)
		if err == nil {
			pause = firstCodeRetry
			run.Go(func() {
				defer func() { <-slots }()
				s.serveCode(ctx, c)
			})
			continue
		}
		<-slots
		kind := cellhold.KindOf(err)
		if ctx.Err() != nil || kind == cellhold.NotFound { // an older agent
			return
		}
		s.slog.Debug("no request of code for packages", "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, lastCodeRetry)
	}
}

// serveCode answers one request. The code's leaving does not end it, as a caller's does not.
func (s *Session) serveCode(ctx context.Context, c *guest.CodeConn) {
	defer c.Close()
	defer context.AfterFunc(ctx, c.Hurry)() // the end of the place waits for this
	if c.Wait() != nil {
		return // nothing has begun
	}
	done := make(chan guestapi.CodeDone, 1)
	lines := make(chan string, maxSaid)
	say := func(line string) {
		select {
		case lines <- line:
		default: // a code that does not read misses some
		}
	}
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { done <- packages.ForCode(s.changeForCode(ctx, c.Request, say)) })
	beat := time.NewTicker(guestapi.CodeBeat)
	defer beat.Stop()
	for {
		select {
		case d := <-done:
			if ctx.Err() != nil {
				d = guestapi.CodeDone{Error: "The server stops, or lets go of the session, and has ended the installation. Run it again."}
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

// changeForCode installs or removes what code asks for, within what the operator allows it.
func (s *Session) changeForCode(ctx context.Context, r guestapi.CodeRequest, say func(string)) (cellhold.Installation, error) {
	p, by := s.m.o.Packages, caller{life: ctx, code: true}
	if len(r.Remove) > 0 {
		if err := p.RemovableByCode(); err != nil {
			return cellhold.Installation{}, err
		}
		if len(r.Remove) > guestapi.MaxRequirements {
			return cellhold.Installation{}, cellhold.Errorf(cellhold.Invalid, "More than %d packages cannot be removed at once.", guestapi.MaxRequirements)
		}
		return s.remove(ctx, by, r.Remove)
	}
	plan, err := p.PlanOfCode(packages.Request{Requirements: r.Requirements, File: r.File, Upgrade: r.Upgrade, Alone: r.Alone}, &s.tally)
	return s.carryOut(ctx, by, plan.Said(say), err)
}
