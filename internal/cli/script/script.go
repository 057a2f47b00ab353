// Package script runs one script or notebook in its own session, as `cellhold run` does.
//
// It needs a client of any server. It passes input, output and signals, and saves the script's files and figures on this
// machine. The files come from untrusted code: no name leads out of the destination, and programs obey none of the files that
// are put next to the user's own. The package does not start a server.
package script

import (
	"bytes"
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Script is one run of a script or notebook in its own session.
type Script struct {
	Source   *source
	Inputs   []Input           // files of --files
	Terminal *console.Terminal // our terminal
	Image    string            // empty: the server's default
	Limits   cellhold.Limits   // zero field: the server's default
	Hosts    []string          // that the script can reach
	Packages []string          // packages to install first
	Timeout  time.Duration
	Printer  *Printer
	Dest     *destination // of the script's files
	MaxBytes int64        // limit of the bytes of these files
	Signals  <-chan os.Signal

	client  *client.Client
	session cellhold.SessionID
	late    atomic.Bool                 // the deadline has passed
	running atomic.Pointer[interrupter] // receives signals while the script runs
}

// interrupter passes a signal to the script.
type interrupter func(context.Context, syscall.Signal) error

// endTime limits the time for deleting the session.
const endTime = 20 * time.Second

// Run runs the script on a server. It stores the script's exit status in Printer.Exit.
func (s *Script) Run(ctx context.Context, c *client.Client) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer s.handleSignals(ctx, cancel)()
	session, err := c.CreateSession(ctx, client.CreateSession{Image: s.Image, Limits: s.Limits, Egress: s.egress()})
	if err != nil {
		return s.result(ctx, err)
	}
	s.client, s.session = c, session.ID
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		err = errors.Join(err, c.DeleteSession(end, session.ID))
	}()
	return s.result(ctx, s.inSession(ctx))
}

// inSession executes the steps of a run.
func (s *Script) inSession(ctx context.Context) error {
	if len(s.Packages) > 0 {
		report, err := s.client.Install(ctx, s.session, client.InstallPackages{Requirements: s.Packages})
		if err != nil {
			return err
		}
		for _, warning := range report.Warnings {
			if err := s.Printer.note("%s", warning); err != nil {
				return err
			}
		}
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	results := &results{client: s.client, session: s.session, printer: s.Printer, dest: s.Dest, limit: s.MaxBytes, left: s.MaxBytes}
	if err := results.recordBefore(ctx); err != nil {
		return err
	}
	if err := s.work(ctx); err != nil {
		return err
	}
	s.running.Store(nil) // from here on, a signal ends the session
	if err := s.bringBack(ctx, results); err != nil && ctx.Err() == nil {
		if s.Printer.Exit == console.ExitOK {
			s.Printer.Exit = console.ExitFailed
		}
		_ = s.Printer.note("the script's files are not saved: %v", console.Message(err)) // an error of the note itself can be reported nowhere
	}
	return ctx.Err()
}

func (s *Script) work(ctx context.Context) error {
	if s.Source.notebook() {
		return s.runNotebook(ctx)
	}
	return s.runProgram(ctx)
}

// prepare writes the script and its files into the working directory. It writes the script last, because --files can
// contain the script too.
func (s *Script) prepare(ctx context.Context) error {
	left, err := send(ctx, s.client, s.session, s.Inputs)
	if err != nil {
		return err
	}
	for i, name := range left {
		if i == maxNamed {
			if err := s.Printer.note("%d further files of --files are skipped", len(left)-i); err != nil {
				return err
			}
			break
		}
		if err := s.Printer.note("skipped in --files, because it is not a regular file: %s", console.Printable(name)); err != nil {
			return err
		}
	}
	if s.Source.path == stdinName || s.Source.notebook() {
		return nil
	}
	_, err = s.client.WriteFile(ctx, s.session, s.Source.name(), bytes.NewReader(s.Source.code), s.Source.mode())
	return err
}

// egress returns the egress of the session: the requested hosts, or none, whatever the server's default is.
func (s *Script) egress() *cellhold.Egress {
	if len(s.Hosts) == 0 {
		return &cellhold.Egress{Policy: cellhold.EgressNone}
	}
	return &cellhold.Egress{Policy: cellhold.EgressAllowlist, Hosts: s.Hosts}
}

// result returns nil if a signal ended the run, and otherwise err.
func (s *Script) result(ctx context.Context, err error) error {
	if exit, ok := errors.AsType[console.ExitError](context.Cause(ctx)); ok {
		s.Printer.Exit = int(exit)
		return nil
	}
	return err
}

// handleSignals handles signals until stop is called; stop waits for it. The first signal goes to the script, which can clean
// up. A second signal, or one while the script does not run, ends the session.
func (s *Script) handleSignals(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	quit := make(chan struct{})
	var tasks sync.WaitGroup
	tasks.Go(func() {
		passed := false
		for {
			select {
			case <-quit:
				return
			case got := <-s.Signals:
				sig := got.(syscall.Signal)
				pass := s.running.Load()
				if passed || pass == nil {
					cancel(console.ExitError(128 + int(sig)))
					continue
				}
				passed = true
				tasks.Go(func() {
					// Conflict: the script has ended, with its own exit status.
					if err := (*pass)(ctx, sig); err != nil && cellhold.KindOf(err) != cellhold.Conflict {
						cancel(console.ExitError(128 + int(sig)))
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
