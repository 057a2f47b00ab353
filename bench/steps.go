package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cellhold/bench/report"
)

// step is a part of the run. It measures one or several figures.
type step struct {
	name  string
	limit time.Duration // time limit of the step
	do    func(*bench, context.Context) error
}

// allSteps are the steps in the order of the run. Steps without lasting effects on the machine come first.
var allSteps = []step{
	{"first", 10 * time.Minute, (*bench).first},
	{"plot", 6 * time.Minute, (*bench).plot},
	{"burst", 8 * time.Minute, (*bench).burst},
	{"cell", 5 * time.Minute, (*bench).cell},
	{"apis", 5 * time.Minute, (*bench).apis},
	{"load", 12 * time.Minute, (*bench).load},
	{"creates", 5 * time.Minute, (*bench).creates},
	{"memory", 5 * time.Minute, (*bench).memory},
	{"hibernate", 5 * time.Minute, (*bench).hibernate},
	{"fork", 4 * time.Minute, (*bench).fork},
	{"print", 6 * time.Minute, (*bench).print},
}

func stepNames() []string {
	var names []string
	for _, s := range allSteps {
		names = append(names, s.name)
	}
	return names
}

// steps runs the selected steps. If a step returns an error or exceeds its limit, the report says so. Then the next step
// runs.
func (b *bench) steps(ctx context.Context) {
	for _, s := range allSteps {
		if ctx.Err() != nil || len(b.o.only) > 0 && !slices.Contains(b.o.only, s.name) {
			continue
		}
		b.say("%s", s.name)
		within, cancel := context.WithTimeout(ctx, s.limit)
		err := s.do(b, within)
		switch {
		case ctx.Err() != nil:
			err = errors.New("the run was stopped before the step ended")
		case within.Err() != nil:
			err = fmt.Errorf("the step exceeded its time limit of %s", s.limit)
		}
		if err != nil {
			b.say("%s: %v", s.name, err)
			b.report.Add(report.Figure{Key: s.name, Title: s.name}).LeftOut = err.Error()
		}
		cancel()
	}
}
