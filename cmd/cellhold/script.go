package main

import (
	"cellhold"
	"cellhold/client"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// script is one run of one script in a session of its own.
type script struct {
	name    string // the path of its file, or stdinName
	code    string
	startup string          // what runs before it, in silence
	image   string          // zero means the server's
	limits  cellhold.Limits // a zero field means the server's
	hosts   []string        // that it may reach
	with    []string        // packages to install first
	timeout time.Duration
	show    *show
	asker   *asker
	signals <-chan os.Signal

	running atomic.Pointer[cellhold.Cell] // the cell, once it is submitted
}

// endTime bounds the end of the session when the script was ended by force.
const endTime = 20 * time.Second

// run runs the script at that server. How the script ended is in show.exit.
func (s *script) run(ctx context.Context, c *client.Client) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer s.obey(ctx, c, cancel)()
	session, err := c.CreateSession(ctx, client.CreateSession{Image: s.image, Limits: s.limits, Startup: s.startup, Egress: s.egress()})
	if err != nil {
		return s.judge(ctx, err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		err = errors.Join(err, c.DeleteSession(end, session.ID))
	}()
	if len(s.with) > 0 {
		report, err := c.Install(ctx, session.ID, client.InstallPackages{Requirements: s.with})
		if err != nil {
			return s.judge(ctx, err)
		}
		for _, warning := range report.Warnings {
			if err := s.show.note("%s", warning); err != nil {
				return err
			}
		}
	}
	if err := s.place(ctx, c, session.ID); err != nil {
		return s.judge(ctx, err)
	}
	cell, err := c.Submit(ctx, session.ID, client.Code{Code: s.code, Timeout: s.timeout, AllowStdin: s.asker.terminal != nil})
	if err != nil {
		return s.judge(ctx, err)
	}
	s.running.Store(&cell)
	if err := s.follow(ctx, c, cell); err != nil {
		return s.judge(ctx, err)
	}
	return s.judge(ctx, s.fetch(ctx, c, session.ID))
}

// place puts the script's file where its __file__ says: some read it, and processes that multiprocessing
// spawns import it.
func (s *script) place(ctx context.Context, c *client.Client, id cellhold.SessionID) error {
	if s.name == stdinName {
		return nil
	}
	_, err := c.WriteFile(ctx, id, filepath.Base(s.name), strings.NewReader(s.code), 0o644)
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

// follow shows what the cell puts out until it is done.
func (s *script) follow(ctx context.Context, c *client.Client, cell cellhold.Cell) error {
	for e, err := range c.Watch(ctx, cell.Session, 0) {
		if err != nil {
			return err
		}
		if e.Type == cellhold.EventKernelState {
			s.show.kernel(e)
		}
		if e.Cell != cell.ID {
			continue
		}
		if e.Type == cellhold.EventInputRequest {
			if err := s.asker.answer(ctx, c, cell, e, s.show); err != nil {
				return err
			}
			continue
		}
		if done, err := s.show.event(e); done || err != nil {
			return err
		}
	}
	return errors.New("the session ended before the script did")
}

// obey acts on signals until the returned function is called, which waits for it: the first Ctrl-C
// interrupts the script, so that it can clean up; the second, or any other signal, ends the session.
func (s *script) obey(ctx context.Context, c *client.Client, cancel context.CancelCauseFunc) (stop func()) {
	quit := make(chan struct{})
	var tasks sync.WaitGroup
	tasks.Go(func() {
		interrupted := false
		for {
			select {
			case <-quit:
				return
			case sig := <-s.signals:
				cell := s.running.Load()
				if sig != syscall.SIGINT || interrupted || cell == nil {
					cancel(exitError(128 + int(sig.(syscall.Signal))))
					continue
				}
				interrupted = true
				tasks.Go(func() {
					if err := c.Interrupt(ctx, cell.Session, ""); err != nil {
						cancel(exitError(exitInterrupted))
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

// fetch saves what the script wrote to /mnt/data/output, in a folder beside the figures.
func (s *script) fetch(ctx context.Context, c *client.Client, id cellhold.SessionID) error {
	files, err := c.Files(ctx, id)
	if err != nil || len(files) == 0 {
		return err
	}
	dir, err := s.show.figures.folder()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // the names are the script's: nothing may be written outside
	if err != nil {
		return err
	}
	defer root.Close()
	for _, file := range files {
		if err := fetchFile(ctx, c, id, root, file.Path); err != nil {
			return fmt.Errorf("save %q: %w", file.Path, err)
		}
	}
	return s.show.note("what it wrote to /mnt/data/output is saved in %s", dir)
}

func fetchFile(ctx context.Context, c *client.Client, id cellhold.SessionID, root *os.Root, name string) error {
	from, err := c.OpenFile(ctx, id, name)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := root.MkdirAll(filepath.FromSlash(path.Dir(name)), 0o755); err != nil {
		return err
	}
	to, err := root.Create(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
