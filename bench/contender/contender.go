// Package contender starts the contenders of the benchmark and runs cells in them, each with its usual client:
// cellhold, a bare kernel, the article's design, the Jupyter Kernel Gateway, llm-sandbox. It does not decide what is
// measured.
package contender

import (
	"context"
	"time"
)

// Contender is one of the compared ways to run sessions. Methods can be called from any goroutine.
type Contender interface {
	// Open creates a session and returns when it accepts cells.
	Open(ctx context.Context) (Session, error)
	// Settle returns when no background work is left, so that it does not affect the next measurement.
	Settle(ctx context.Context) error
	// Close ends all processes of the contender. Its sessions end.
	Close() error
}

// Session is one stateful session of a contender. Only one method is called at a time.
type Session interface {
	// Run runs a cell and returns its output. Code that fails is an error.
	Run(ctx context.Context, code string) (Output, error)
	// Time runs a cell several times and returns the duration of each, measured by the contender's own client.
	Time(ctx context.Context, code string, rounds int) ([]time.Duration, error)
	// Close ends the session, and returns when it has ended.
	Close(ctx context.Context) error
}

// Output is the output of a cell.
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
