package contender

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

// Driver is a contender that a Python program in the folder drivers starts and uses. The program reads requests as
// lines of JSON, and serves each request in its own thread. Each answer has the number of its request.
type Driver struct {
	*process
	mu      sync.Mutex // guards writes of lines, and the fields below
	waiting map[int]chan answer
	last    int
	ended   bool
}

// request is one line to the Python program.
type request struct {
	Number  int    `json:"number"`
	Op      string `json:"op"` // open, run, time or close
	Session int    `json:"session"`
	Code    string `json:"code,omitempty"`
	Rounds  int    `json:"rounds,omitempty"`
}

// answer is one line from the Python program.
type answer struct {
	Number int       `json:"number"`
	Error  string    `json:"error"`
	Text   string    `json:"text"`
	PNG    []byte    `json:"png"`
	Took   []float64 `json:"took"` // seconds
}

// Python is the environment of the Python contenders.
type Python struct {
	Program string   // the interpreter of the venv
	Env     []string // the environment; its HOME is separate, so that no user settings apply
	Dir     string   // a writable directory
}

// StartDriver starts a Python program, and returns when it is ready.
func StartDriver(p Python, script string, args ...string) (*Driver, error) {
	child, err := start(p.Dir, p.Env, p.Program, append([]string{script}, args...)...)
	if err != nil {
		return nil, err
	}
	d := &Driver{process: child, waiting: map[int]chan answer{}}
	lines := bufio.NewScanner(d.out)
	lines.Buffer(nil, most)
	if !lines.Scan() { // the first line says that the program is ready
		d.stop()
		return nil, d.endedError(filepath.Base(script))
	}
	go d.read(lines)
	return d, nil
}

// read passes answers to the waiting requests. When the process ends, read fails
// the requests that still wait, and returns.
func (d *Driver) read(lines *bufio.Scanner) {
	for lines.Scan() {
		var a answer
		if json.Unmarshal(lines.Bytes(), &a) != nil {
			continue // output of a library
		}
		d.mu.Lock()
		to := d.waiting[a.Number]
		delete(d.waiting, a.Number)
		d.mu.Unlock()
		if to != nil {
			to <- a
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	for number, to := range d.waiting {
		delete(d.waiting, number)
		to <- answer{Error: "the contender's program ended: " + d.log.String()}
	}
}

// ask sends a request and waits for the answer.
func (d *Driver) ask(ctx context.Context, r request) (answer, error) {
	to := make(chan answer, 1)
	if err := d.send(&r, to); err != nil {
		return answer{}, err
	}
	select {
	case a := <-to:
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-ctx.Done():
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.waiting, r.Number)
		return answer{}, fmt.Errorf("%s: %w", r.Op, ctx.Err())
	}
}

// send numbers a request and writes it. The number of a request to open a session also becomes the number of the
// session.
func (d *Driver) send(r *request, to chan answer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return d.endedError("the contender's program")
	}
	d.last++
	r.Number = d.last
	if r.Op == "open" {
		r.Session = r.Number
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = d.in.Write(append(line, '\n'))
	}
	if err == nil {
		d.waiting[r.Number] = to
	}
	return err
}

// Open creates a session.
func (d *Driver) Open(ctx context.Context) (Session, error) {
	a, err := d.ask(ctx, request{Op: "open"})
	return driven{d, a.Number}, err
}

// Settle returns at once: there is no background work.
func (d *Driver) Settle(context.Context) error { return nil }

// Close ends the Python program and the processes that it started.
func (d *Driver) Close() error {
	d.stop()
	return nil
}

// driven is a session of a Driver.
type driven struct {
	d       *Driver
	session int
}

func (s driven) Run(ctx context.Context, code string) (Output, error) {
	a, err := s.d.ask(ctx, request{Op: "run", Session: s.session, Code: code})
	return Output{Text: a.Text, PNG: a.PNG}, err
}

func (s driven) Time(ctx context.Context, code string, rounds int) ([]time.Duration, error) {
	a, err := s.d.ask(ctx, request{Op: "time", Session: s.session, Code: code, Rounds: rounds})
	took := make([]time.Duration, len(a.Took))
	for i, seconds := range a.Took {
		took[i] = time.Duration(seconds * float64(time.Second))
	}
	return took, err
}

func (s driven) Close(ctx context.Context) error {
	_, err := s.d.ask(ctx, request{Op: "close", Session: s.session})
	return err
}

// Pid returns the process id of the Python program.
func (d *Driver) Pid() int { return d.cmd.Process.Pid }
