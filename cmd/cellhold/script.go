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

// script is one run of one script or notebook in a session of its own.
type script struct {
	source  *source
	given   []given         // files that it gets
	term    *terminal       // our own
	image   string          // zero means the server's
	limits  cellhold.Limits // a zero field means the server's
	hosts   []string        // that it may reach
	with    []string        // packages to install first
	timeout time.Duration
	show    *show
	place   *destination // for its files
	room    int64        // bytes that they may have
	signals <-chan os.Signal

	client  *client.Client
	session cellhold.SessionID
	late    atomic.Bool                 // the deadline has passed
	running atomic.Pointer[interrupter] // what a signal is passed to, while the script runs
}

// interrupter passes a signal on.
type interrupter func(context.Context, syscall.Signal) error

// endTime bounds the end of the session when the script was ended by force.
const endTime = 20 * time.Second

// run runs the script at that server. How the script ended is in show.exit.
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

// inSession takes the steps of a run.
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
	s.running.Store(nil) // a signal from here on ends the session
	if err := s.bringBack(ctx, results); err != nil && ctx.Err() == nil {
		if s.show.exit == exitOK {
			s.show.exit = exitFailed
		}
		_ = s.show.note("the script's files are not kept: %v", plainly(err)) // all that can be done
	}
	return ctx.Err()
}

func (s *script) work(ctx context.Context) error {
	if s.source.notebook() {
		return s.runNotebook(ctx)
	}
	return s.runProgram(ctx)
}

// prepare puts the script and its files into the working directory. The script comes last: it may be among
// the files.
func (s *script) prepare(ctx context.Context) error {
	left, err := send(ctx, s.client, s.session, s.given)
	if err != nil {
		return err
	}
	for i, name := range left {
		if i == maxNamed {
			if err := s.show.note("%d further links are left out of --files", len(left)-i); err != nil {
				return err
			}
			break
		}
		if err := s.show.note("left out of --files, because it is a link or no file: %s", printable(name)); err != nil {
			return err
		}
	}
	if s.source.path == stdinName || s.source.notebook() {
		return nil
	}
	_, err = s.client.WriteFile(ctx, s.session, s.source.name(), bytes.NewReader(s.source.code), s.source.mode())
	return err
}

// egress is what the script may reach: what was asked for, and not what the server's default is.
func (s *script) egress() *cellhold.Egress {
	if len(s.hosts) == 0 {
		return &cellhold.Egress{Policy: cellhold.EgressNone}
	}
	return &cellhold.Egress{Policy: cellhold.EgressAllowlist, Hosts: s.hosts}
}

// judge tells an end by a signal from a failure.
func (s *script) judge(ctx context.Context, err error) error {
	if exit, ok := errors.AsType[exitError](context.Cause(ctx)); ok {
		s.show.exit = int(exit)
		return nil
	}
	return err
}

// obey acts on signals until the returned function is called, which waits for it: the first one is the
// script's, which may clean up; the second one, or one before or after the script runs, ends the session.
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
					// One that is done already has its own exit status.
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
