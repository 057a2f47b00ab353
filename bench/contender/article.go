package contender

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Baseline is the article's design: a small Python server with a kernel for each user.
type Baseline struct {
	*process
	url  string
	last atomic.Int64
}

// StartBaseline starts the server and returns when it listens.
func StartBaseline(p Python, dir string) (*Baseline, error) {
	child, err := start(dir, p.Env, p.Program, "server.py", p.Dir)
	if err != nil {
		return nil, err
	}
	b := &Baseline{process: child}
	lines := bufio.NewScanner(b.out) // it prints its address when it listens
	if !lines.Scan() {
		b.stop()
		return nil, b.endedError("the article's design")
	}
	b.url = lines.Text()
	go func() { _, _ = io.Copy(io.Discard, b.out) }() // ends with the process
	return b, nil
}

// Open starts a user's session.
func (b *Baseline) Open(ctx context.Context) (Session, error) {
	s := user{b, "u" + strconv.FormatInt(b.last.Add(1), 10)}
	return s, s.form(ctx, "/start_session")
}

// Settle returns at once: there is no background work.
func (b *Baseline) Settle(context.Context) error { return nil }

// Close ends the server and its kernels.
func (b *Baseline) Close() error {
	b.stop()
	return nil
}

// user is a session of the article's design.
type user struct {
	b    *Baseline
	name string
}

// form sends the user's name to a route.
func (s user) form(ctx context.Context, path string) error {
	body := url.Values{"user_id": {s.name}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.b.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return exchange(req, nil)
}

func (s user) Run(ctx context.Context, code string) (Output, error) {
	var reply struct {
		Output string   `json:"output"`
		Plots  [][]byte `json:"plots"`
	}
	in := map[string]string{"user_id": s.name, "code": code}
	if err := call(ctx, http.MethodPost, s.b.url+"/execute", nil, in, &reply); err != nil {
		return Output{}, fmt.Errorf("a cell failed: %w", err)
	}
	out := Output{Text: reply.Output}
	if len(reply.Plots) > 0 {
		out.PNG = reply.Plots[0]
	}
	return out, nil
}

func (s user) Time(ctx context.Context, code string, rounds int) ([]time.Duration, error) {
	return timeEach(ctx, s, code, rounds)
}

func (s user) Close(ctx context.Context) error { return s.form(ctx, "/end_session") }
