package main

import (
	"bytes"
	"cellhold"
	"cellhold/client"
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// script is one run of a script or notebook in its own session.
type script struct {
	source  *source
	given   []given         // files of --files
	term    *terminal       // our terminal
	image   string          // empty: the server's default
	limits  cellhold.Limits // zero field: the server's default
	hosts   []string        // that the script can reach
	with    []string        // packages to install first
	timeout time.Duration
	show    *show
	place   *destination // of the script's files
	room    int64        // limit of the bytes of these files
	signals <-chan os.Signal

	client  *client.Client
	session cellhold.SessionID
	late    atomic.Bool                 // the deadline has passed
	running atomic.Pointer[interrupter] // receives signals while the script runs
}

// interrupter passes a signal to the script.
type interrupter func(context.Context, syscall.Signal) error

// endTime limits the time for deleting the session.
const endTime = 20 * time.Second

// run runs the script on a server. It stores the script's exit status in show.exit.
func (s *script) run(ctx context.Context, c *client.Client) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer s.obey(ctx, cancel)()
	session, err := c.CreateSession(ctx, client.CreateSession{Image: s.image, Limits: s.limits, Egress: s.egress()})
	if err != nil {
		return s.judge(ctx, err)
	}
	s.client, s.session = c, session.ID
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		err = errors.Join(err, c.DeleteSession(end, session.ID))
	}()
	return s.judge(ctx, s.inSession(ctx))
}

// inSession executes the steps of a run.
func (s *script) inSession(ctx context.Context) error {
	if len(s.with) > 0 {
		report, err := s.client.Install(ctx, s.session, client.InstallPackages{Requirements: s.with})
		if err != nil {
			return err
		}
		for _, warning := range report.Warnings {
			if err := s.show.note("%s", warning); err != nil {
				return err
			}
		}
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	results := &results{client: s.client, session: s.session, show: s.show, place: s.place, bound: s.room, room: s.room}
	if err := results.look(ctx); err != nil {
		return err
	}
	if err := s.work(ctx); err != nil {
		return err
	}
	s.running.Store(nil) // from here on, a signal ends the session
	if err := s.bringBack(ctx, results); err != nil && ctx.Err() == nil {
		if s.show.exit == exitOK {
			s.show.exit = exitFailed
		}
		_ = s.show.note("the script's files are not saved: %v", plainly(err)) // an error here has no other place to go
	}
	return ctx.Err()
}

func (s *script) work(ctx context.Context) error {
	if s.source.notebook() {
		return s.runNotebook(ctx)
	}
	return s.runProgram(ctx)
}

// prepare writes the script and its files into the working directory. It writes the script last, because --files may
// contain the script too.
func (s *script) prepare(ctx context.Context) error {
	left, err := send(ctx, s.client, s.session, s.given)
	if err != nil {
		return err
	}
	for i, name := range left {
		if i == maxNamed {
			if err := s.show.note("%d further files of --files are skipped", len(left)-i); err != nil {
				return err
			}
			break
		}
		if err := s.show.note("skipped in --files, because it is not a regular file: %s", printable(name)); err != nil {
			return err
		}
	}
	if s.source.path == stdinName || s.source.notebook() {
		return nil
	}
	_, err = s.client.WriteFile(ctx, s.session, s.source.name(), bytes.NewReader(s.source.code), s.source.mode())
	return err
}

// egress returns the egress of the session: the requested hosts, or none, whatever the server's default is.
func (s *script) egress() *cellhold.Egress {
	if len(s.hosts) == 0 {
		return &cellhold.Egress{Policy: cellhold.EgressNone}
	}
	return &cellhold.Egress{Policy: cellhold.EgressAllowlist, Hosts: s.hosts}
}

// judge returns nil if a signal ended the run, and otherwise err.
func (s *script) judge(ctx context.Context, err error) error {
	if exit, ok := errors.AsType[exitError](context.Cause(ctx)); ok {
		s.show.exit = int(exit)
		return nil
	}
	return err
}

// obey handles signals until stop is called; stop waits for it. The first signal goes to the script, which can clean
// up. A second signal, or one while the script does not run, ends the session.
func (s *script) obey(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	quit := make(chan struct{})
	var tasks sync.WaitGroup
	tasks.Go(func() {
		passed := false
		for {
			select {
			case <-quit:
				return
			case got := <-s.signals:
				sig := got.(syscall.Signal)
				pass := s.running.Load()
				if passed || pass == nil {
					cancel(exitError(128 + int(sig)))
					continue
				}
				passed = true
				tasks.Go(func() {
					// Conflict: the script has ended, with its own exit status.
					if err := (*pass)(ctx, sig); err != nil && cellhold.KindOf(err) != cellhold.Conflict {
						cancel(exitError(128 + int(sig)))
					}
				})
			}
		}
	})
	return func() {
		close(quit)
		tasks.Wait()
	}
}
