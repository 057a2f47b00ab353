package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cellhold"
	"cellhold/bench/contender"
	"cellhold/bench/report"
)

// hibernate measures hibernating and resuming, with state that cannot be compressed.
func (b *bench) hibernate(ctx context.Context) error {
	server, err := b.one(ctx, report.Restore, report.Warm)
	if err != nil {
		return err
	}
	for _, size := range []int{10, 300} {
		state := fmt.Sprintf("with %d MB of state", size)
		down := b.report.Add(report.Figure{Key: fmt.Sprintf("hibernate-%d", size), Title: "Hibernating a session " + state, Unit: "ms"})
		up := b.report.Add(report.Figure{Key: fmt.Sprintf("resume-%d", size), Title: "Resuming a session " + state + ", to its first answer", Unit: "ms"})
		for range b.n.hibernate {
			saved, resumed, err := hibernateAndResume(ctx, server, size)
			if err != nil {
				return err
			}
			down.SeriesOf(report.Cellhold).Took(saved)
			up.SeriesOf(report.Cellhold).Took(resumed)
		}
	}
	return nil
}

// hibernateAndResume hibernates one session, resumes it, and checks its state.
func hibernateAndResume(ctx context.Context, server *contender.Cellhold, size int) (saved, resumed time.Duration, err error) {
	s, err := server.OpenOne(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer end(ctx, s)
	if _, err := s.Run(ctx, fmt.Sprintf("import os; state = os.urandom(%d << 20)", size)); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	if err := server.Call(ctx, http.MethodPost, "/v1/sessions/"+string(s.ID)+"/hibernate", nil, nil); err != nil {
		return 0, 0, err
	}
	saved = time.Since(begun)
	x, err := server.Session(ctx, s.ID)
	if err != nil || x.State != cellhold.SessionHibernated {
		return 0, 0, fmt.Errorf("the hibernated session has the state %s (%v)", x.State, err)
	}
	begun = time.Now()
	out, err := s.Run(ctx, "print(len(state))")
	resumed = time.Since(begun)
	if err == nil && strings.TrimSpace(out.Text) != fmt.Sprint(size<<20) {
		err = fmt.Errorf("the resumed session has a variable of %q bytes", out.Text)
	}
	return saved, resumed, err
}

// fork measures forks of a session that has used pandas: the call, and the time until all forks have answered.
func (b *bench) fork(ctx context.Context) error {
	server, err := b.one(ctx, report.Restore, report.Warm)
	if err != nil {
		return err
	}
	for _, n := range []int{1, 8} {
		call := b.report.Add(report.Figure{Key: fmt.Sprintf("fork-%d", n), Title: fmt.Sprintf("Forking a session into %d", n), Unit: "ms"})
		answer := b.report.Add(report.Figure{Key: fmt.Sprintf("fork-%d-answer", n), Title: "From the fork call until " + forks(n) + " answered", Unit: "ms"})
		for range b.n.fork {
			made, answered, err := forkOnce(ctx, server, n)
			if err != nil {
				return err
			}
			call.SeriesOf(report.Cellhold).Took(made)
			answer.SeriesOf(report.Cellhold).Took(answered)
		}
	}
	return nil
}

// forks names n forks in a title, with their verb.
func forks(n int) string {
	if n == 1 {
		return "the fork has"
	}
	return fmt.Sprintf("all %d forks have", n)
}

// forkOnce forks one session into n, and returns the times until they exist and until they have answered.
func forkOnce(ctx context.Context, server *contender.Cellhold, n int) (made, answered time.Duration, err error) {
	s, err := server.OpenOne(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer end(ctx, s)
	if _, err := s.Run(ctx, "x = 20\n"+firstPandas); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	forks, err := server.Fork(ctx, s.ID, n)
	made = time.Since(begun)
	defer endAll(ctx, forks)
	if err != nil {
		return 0, 0, err
	}
	err = inParallel(forks, func(f contender.Session) error {
		out, err := f.Run(ctx, "print(x + 1)")
		if err == nil && strings.TrimSpace(out.Text) != "21" {
			err = fmt.Errorf("a fork answered %q, want 21", out.Text)
		}
		return err
	})
	return made, time.Since(begun), err
}

// print measures the server's memory during a flood of output.
func (b *bench) print(ctx context.Context) error {
	mib := b.n.print
	f := b.report.Add(report.Figure{Key: "print", Title: fmt.Sprintf("The server while a cell prints %d MiB", mib), Unit: "MB"})
	server, err := b.one(ctx, report.Restore, report.Cold, report.Warm)
	if err != nil {
		return err
	}
	s, err := server.OpenOne(ctx)
	if err != nil {
		return err
	}
	defer end(ctx, s)
	before := resident(server.Pid, "VmRSS:")
	if err := forgetPeak(server.Pid); err != nil {
		return err
	}
	begun := time.Now()
	if _, err := s.Run(ctx, fmt.Sprintf("line = 'x' * ((1 << 20) - 1)\nfor i in range(%d): print(line)", mib)); err != nil {
		return err
	}
	f.Note = fmt.Sprintf("It took %.0f s.", time.Since(begun).Seconds())
	f.SeriesOf("resident before").Put(mbOf(before))
	f.SeriesOf("largest growth").Put(mbOf(resident(server.Pid, "VmHWM:") - before))
	return nil
}
