// Package contender drives what the benchmark compares, each in the way of its own clients: cellhold, a
// bare kernel, the article's design, the Jupyter Kernel Gateway, llm-sandbox. It decides nothing about
// what is measured.
package contender

import (
	"context"
	"time"
)

// Contender makes sessions in one of the ways that are compared. Methods may be called from any
// goroutine.
type Contender interface {
	// Open makes a session and returns when it takes cells.
	Open(ctx context.Context) (Session, error)
	// Settle returns when nothing is left to be done in the background: whoever is measured next has
	// the machine for itself.
	Settle(ctx context.Context) error
	// Close ends all processes that it started. Its sessions are gone.
	Close() error
}

// Session is one stateful session of a contender. Its methods are called one after the other.
type Session interface {
	// Run runs a cell and returns what it put out. Code that fails is an error here.
	Run(ctx context.Context, code string) (Output, error)
	// Time runs a cell so many times and returns how long each took, seen from the contender's own client.
	Time(ctx context.Context, code string, rounds int) ([]time.Duration, error)
	// Close ends the session, and returns when it is gone.
	Close(ctx context.Context) error
}

// Output is what a cell put out.
type Output struct {
	Text string
	PNG  []byte // the first picture
}

// timeEach measures a session whose client is in this process.
func timeEach(ctx context.Context, s Session, code string, rounds int) ([]time.Duration, error) {
	took := make([]time.Duration, 0, rounds)
	for range rounds {
		begun := time.Now()
		if _, err := s.Run(ctx, code); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}
