package mcp

import (
	"context"
	"iter"
	"strings"
	"sync"
	"time"

	"cellhold"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// report sends progress notifications until ctx ends or stop is called, if the caller wants them. A notification has the
// last line of output, from the events that are mine. Programs that see progress wait longer for the answer, so report also
// sends notifications while there is no output. The caller must call stop, which waits.
func (c call) report(ctx context.Context, events func(context.Context) iter.Seq2[cellhold.Event, error], mine func(cellhold.Event) bool) (stop func()) {
	token := c.request.Params.GetProgressToken()
	if token == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var last lastLine
	var work sync.WaitGroup
	work.Go(func() {
		defer func() { recovered(c.options.Logger, "report", recover()) }()
		for e, err := range events(ctx) {
			if err != nil {
				return // there is still progress, without text
			}
			if mine(e) {
				last.take(e)
			}
		}
	})
	work.Go(func() {
		defer func() { recovered(c.options.Logger, "report", recover()) }()
		tick := time.NewTicker(c.options.Report)
		defer tick.Stop()
		begun := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				// An error means that the caller left, which ends ctx.
				_ = c.request.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{
					ProgressToken: token, Progress: now.Sub(begun).Seconds(), Message: last.line()})
			}
		}
	})
	return func() { cancel(); work.Wait() }
}

// lastLine keeps the last line of an output.
type lastLine struct {
	mu   sync.Mutex
	text string
}

// take reads the text of an event.
func (l *lastLine) take(e cellhold.Event) {
	if e.Type != cellhold.EventStream {
		return
	}
	var s cellhold.StreamContent
	if e.Decode(&s) != nil {
		return
	}
	const most = 4 << 10 // a line and its codes
	text := s.Text
	if len(text) > most {
		text = strings.ToValidUTF8(text[len(text)-most:], "")
	}
	lines := strings.FieldsFunc(plain(text), func(r rune) bool { return r == '\n' })
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return
	}
	l.mu.Lock()
	l.text = shown(lines[len(lines)-1])
	l.mu.Unlock()
}

func (l *lastLine) line() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == "" {
		return "running"
	}
	return l.text
}
