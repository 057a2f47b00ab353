package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cellhold/bench/contender"
	"cellhold/bench/report"
)

// Limits of a run, so that it ends whatever a contender does.
const (
	askTime  = 3 * time.Minute // for one turn, in which one contender is measured; fifty kernels at once take more than a minute
	maxFails = 3               // successive failures after which a contender is left out of a figure
)

// bench is one run.
type bench struct {
	o       options
	n       sizes
	temp    string // homes, and files of all contenders
	report  *report.Report
	entries []*entry // in the order of the report
}

// entry is a contender that may not have been started yet.
type entry struct {
	name  string
	key   string // its name for -with
	start func() (contender.Contender, error)
	contender.Contender
	slow  bool  // a session takes seconds, so the contender gets a third of the rounds
	err   error // why it is left out
	ready bool
}

// sizes are the numbers of samples.
type sizes struct {
	first, plots    int // sessions of each contender
	blocks          int // blocks of twenty cells
	loads           int // turns of each contender in each load
	seconds         int // duration of the measurement of a rate
	bursts          []int
	burstRounds     int
	idle, crowd     int // sessions whose memory is measured
	hibernate, fork int
	print           int // MiB
}

var (
	full  = sizes{first: 30, plots: 10, blocks: 50, loads: 10, seconds: 5, bursts: []int{10, 50}, burstRounds: 2, idle: 8, crowd: 50, hibernate: 10, fork: 10, print: 1024}
	quick = sizes{first: 5, plots: 3, blocks: 10, loads: 2, seconds: 2, bursts: []int{10}, burstRounds: 1, idle: 3, crowd: 10, hibernate: 2, fork: 2, print: 64}
)

func newBench(o options) (*bench, error) {
	for _, path := range []*string{&o.program, &o.home, &o.python, &o.sources, &o.out} {
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp("/tmp", "chb") // short, because gVisor's sockets are below it
	if err == nil {
		err = os.Chmod(temp, 0o711) // sandboxes have other uids
	}
	if err != nil {
		return nil, err
	}
	b := &bench{o: o, n: full, temp: temp}
	if o.quick {
		b.n = quick
	}
	b.report = &report.Report{Begun: time.Now().UTC().Truncate(time.Second), Quick: o.quick, Machine: machine()}
	b.listContenders()
	return b, nil
}

// close ends all contenders and removes their files.
func (b *bench) close() {
	for _, e := range b.entries {
		if e.ready {
			if err := e.Close(); err != nil {
				b.say("cannot end %s: %v", e.name, err)
			}
		}
	}
	if err := os.RemoveAll(b.temp); err != nil {
		b.say("%v", err)
	}
}

func (b *bench) say(format string, args ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(b.report.Begun).Seconds(), fmt.Sprintf(format, args...))
}

// contenders returns the named contenders that take part, started and settled.
func (b *bench) contenders(ctx context.Context, names ...string) []*entry {
	var takePart []*entry
	for _, name := range names {
		i := slices.IndexFunc(b.entries, func(e *entry) bool { return e.name == name })
		if e := b.entries[i]; b.prepare(ctx, e, i) {
			takePart = append(takePart, e)
		}
	}
	return takePart
}

// prepare starts a contender if it is not running, and reports whether it takes part. It runs one session, so that the
// files of each contender are in memory.
func (b *bench) prepare(ctx context.Context, e *entry, i int) bool {
	if e.ready || e.err != nil {
		return e.err == nil
	}
	begun := time.Now()
	e.Contender, e.err = e.start()
	if e.err == nil {
		e.ready = true
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		if e.err = e.Settle(ctx); e.err == nil {
			_, e.err = b.runSession(ctx, e, firstPlot)
		}
	}
	if e.err != nil {
		b.say("%s is left out: %v", e.name, e.err)
		b.report.Contenders[i].LeftOut = e.err.Error()
		return false
	}
	b.say("%s is ready after %.1f s", e.name, time.Since(begun).Seconds())
	return true
}

// one returns the first of the named contenders that takes part. It must be a server of cellhold.
func (b *bench) one(ctx context.Context, names ...string) (*contender.Cellhold, error) {
	for _, name := range names {
		if who := b.contenders(ctx, name); len(who) == 1 {
			return who[0].Contender.(*contender.Cellhold), nil
		}
	}
	return nil, errors.New("no server of cellhold takes part")
}

// rounds calls ask n times for each contender; one round has a turn of each. A different contender begins each round. A
// contender with too many successive failures is left out of the figures.
func (b *bench) rounds(ctx context.Context, n int, who []*entry, ask func(context.Context, *entry) error, of ...*report.Figure) {
	fails := map[*entry]int{}
	for round := range n {
		for i := range who {
			e := who[(i+round)%len(who)]
			if ctx.Err() != nil || fails[e] >= maxFails || e.slow && round > n/3 {
				continue
			}
			err := b.turn(ctx, e, ask)
			if err != nil && ctx.Err() != nil {
				return // the run was stopped
			}
			fails[e]++
			if err == nil {
				fails[e] = 0
			}
			for _, f := range of {
				if err != nil {
					f.SeriesOf(e.name).Fail(err)
				}
				if fails[e] == maxFails {
					f.SeriesOf(e.name).LeftOut = "it failed too often"
				}
			}
		}
	}
}

// turn calls ask for one contender, while no other contender is active.
func (b *bench) turn(ctx context.Context, e *entry, ask func(context.Context, *entry) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if err := e.Settle(ctx); err != nil {
		return err
	}
	err := ask(ctx, e)
	return errors.Join(err, e.Settle(ctx))
}

// end closes a session, even if the time of the turn is over.
func end(ctx context.Context, s contender.Session) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	return s.Close(ctx)
}
