// Package egress is the host's end of the ways out of a sandbox: it decides what the code of a
// session may reach, makes the connections, and records every attempt.
//
// A sandbox has no network. Programs in it ask a proxy on their loopback, the proxy asks a Gate over
// a connection that the Gate opened, and the Gate alone dials. A guest can therefore open nothing
// towards the host, and where no Gate runs there is no way out. What comes from the guest is hostile:
// a question is one short line, a host in it is brought into one canonical form before anything else
// is done with it, and that form is what is compared, looked up, dialled and recorded.
//
// It refuses to know sessions and sandboxes: it gets its connections as a function, and gives
// attempts to one. Lock: outside.mu, held for no I/O.
package egress

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cellhold"
	"cellhold/internal/guestapi"
)

const (
	// parked is how many connections wait in the guest for programs to want out: the first few of
	// a burst, a browser's worth, start without a round trip.
	parked = 4
	// maxConns bounds the connections of a session at once, the parked ones included. Each may hold
	// 256 KiB of what the guest sends, and as much again in buffers.
	maxConns = 48
	// attemptRate and attemptBurst bound how fast a session can make the host connect, refuse and
	// record. Beyond it the guest waits.
	attemptRate  = 10
	attemptBurst = 100
	// answerTime bounds the writing of one answer line.
	answerTime = 10 * time.Second
	// firstRetry and lastRetry are the pauses after the guest gave no connection.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Options configures a Gate.
type Options struct {
	Policy Policy
	Rules  *Rules // the operator's; required

	// Next opens a connection to the guest on which it may ask for one connection outside. It must
	// end with its context. Required.
	Next func(context.Context) (net.Conn, error)

	// Record keeps an attempt. What cannot be recorded is not done. Required.
	Record func(context.Context, cellhold.EgressAttempt) error

	Vault  *Vault // secrets of the session; nil means none
	Limits Limits
	Logger *slog.Logger // nil discards
}

// Limits bounds what goes through a gate.
type Limits struct {
	Bytes int64         // in both directions, over all connections of this gate; 0 means 16 GiB
	Idle  time.Duration // a connection on which nothing moves ends after this; 0 means 10 min
	Age   time.Duration // and at this age in any case; 0 means 6 h
}

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 16 << 30
	}
	if l.Idle == 0 {
		l.Idle = 10 * time.Minute
	}
	if l.Age == 0 {
		l.Age = 6 * time.Hour
	}
	return l
}

// Gate lets one session out as far as its policy goes.
type Gate struct {
	o       Options
	outside *outside
	meter   *meter
	ledger  *ledger
	web     map[int]bool // ports on which TLS and HTTP are expected, and nothing else goes through
}

// New returns a gate that is closed until Run.
func New(o Options) (*Gate, error) {
	if o.Rules == nil || o.Next == nil || o.Record == nil {
		return nil, errors.New("egress: Rules, Next and Record are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Limits = o.Limits.withDefaults()
	return &Gate{o: o, outside: newOutside(o.Rules, o.Policy), meter: &meter{most: o.Limits.Bytes},
		ledger: &ledger{record: o.Record}, web: map[int]bool{80: true, 443: true}}, nil
}

// Run serves the guest until the context ends, and returns when all connections are closed. With a
// policy that allows nothing it opens nothing.
func (g *Gate) Run(ctx context.Context) {
	if g.o.Policy.None() {
		return
	}
	var run sync.WaitGroup
	defer run.Wait()
	slots := make(chan struct{}, maxConns)
	waiting := make(chan struct{}, parked)
	pace := rate.NewLimiter(attemptRate, attemptBurst)
	pause := firstRetry
	for {
		if !enter(ctx, slots) || !enter(ctx, waiting) || pace.Wait(ctx) != nil {
			return
		}
		c, err := g.o.Next(ctx)
		if err != nil {
			<-slots
			<-waiting
			g.o.Logger.Debug("the guest takes no connection", "err", err)
			if !sleep(ctx, pause) {
				return
			}
			pause = min(2*pause, lastRetry)
			continue
		}
		pause = firstRetry
		run.Go(func() {
			defer func() { <-slots }()
			g.serve(ctx, c, sync.OnceFunc(func() { <-waiting }))
		})
	}
}

func enter(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// serve serves one connection: a question, an answer, and what flows then. asked is called once the
// connection waits no more.
func (g *Gate) serve(ctx context.Context, c net.Conn, asked func()) {
	defer asked()
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { abort(c) })
	defer stop()
	r := bufio.NewReaderSize(c, guestapi.MaxLine)
	line, err := r.ReadSlice('\n')
	asked()
	if err != nil {
		return // let go of by the guest, or a line that is too long
	}
	var ask guestapi.Ask
	if err := json.Unmarshal(line, &ask); err != nil {
		return
	}
	a := &attempt{gate: g, record: cellhold.EgressAttempt{
		ID: strings.ToLower(rand.Text()[:12]), Time: time.Now().UTC(), Host: shown(ask.Host), Port: ask.Port}}
	a.run(ctx, ask, &guestConn{Conn: c, r: r})
}

// guestConn is a connection of the guest's, with what was read ahead.
type guestConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *guestConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// attempt is one question and what becomes of it.
type attempt struct {
	gate   *Gate
	record cellhold.EgressAttempt
	listed bool // its beginning is recorded

	mu      sync.Mutex // guards what is said about the end
	refused string     // why the policy ended a connection that had begun
}

// run decides, answers and carries the bytes.
func (a *attempt) run(ctx context.Context, ask guestapi.Ask, c *guestConn) {
	host, err := ParseHost(ask.Host)
	if err == nil {
		a.record.Host = host.String()
		err = a.gate.outside.permit(host, ask.Port)
	}
	var out net.Conn
	if err == nil {
		out, err = a.gate.outside.dial(ctx, host, ask.Port)
	}
	if err != nil {
		a.refuse(ctx, c, err)
		return
	}
	defer out.Close()
	a.record.Decision, a.record.Address = cellhold.EgressAllowed, out.RemoteAddr().String()
	if a.begin(ctx) != nil {
		_ = answer(c, guestapi.Answer{Error: unrecorded})
		return
	}
	switch {
	case answer(c, guestapi.Answer{}) != nil:
	case a.gate.inspected(host, ask.Port):
		a.inspect(ctx, host, c, out)
	default:
		a.carry(ctx, c, out)
	}
	a.end(ctx)
}

const unrecorded = "The attempt could not be recorded, so it was not made. Is the server's disk full?"

// refuse records and tells that no connection was made.
func (a *attempt) refuse(ctx context.Context, c net.Conn, err error) {
	a.record.Decision, a.record.Reason = cellhold.EgressFailed, "The host could not be reached."
	var no denied
	switch {
	case ctx.Err() != nil:
		return
	case errors.As(err, &no):
		a.record.Decision, a.record.Reason = cellhold.EgressRefused, string(no)
	case cellhold.KindOf(err) == cellhold.Invalid:
		e, _ := errors.AsType[*cellhold.Error](err)
		a.record.Decision, a.record.Reason = cellhold.EgressRefused, e.Message
	default:
		a.record.Reason = unreachable(err)
	}
	say := guestapi.Answer{Refused: a.record.Decision == cellhold.EgressRefused, Error: a.record.Reason}
	if a.begin(ctx) != nil {
		say.Error = unrecorded
	}
	_ = answer(c, say)
}

// unreachable says why there was no connection, without the host's own network in it.
func unreachable(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "There is no host of that name."
		}
		return "The name could not be looked up."
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return "The host did not answer in time."
	}
	return "The host refused the connection, or there is no way to it."
}

// begin records the decision.
func (a *attempt) begin(ctx context.Context) (err error) {
	ctx, cancel := recording(ctx)
	defer cancel()
	a.listed, err = a.gate.ledger.begin(ctx, a.record)
	if err != nil {
		a.gate.o.Logger.Warn("recording an attempt to reach something", "host", a.record.Host, "err", err)
	}
	return err
}

// end records the end of a connection whose beginning is recorded.
func (a *attempt) end(ctx context.Context) {
	if !a.listed {
		return
	}
	ctx, cancel := recording(ctx)
	defer cancel()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.record.Ended = time.Now().UTC()
	if a.refused != "" {
		a.record.Decision, a.record.Reason = cellhold.EgressRefused, a.refused
	}
	if err := a.gate.o.Record(ctx, a.record); err != nil {
		a.gate.o.Logger.Warn("recording the end of a connection", "host", a.record.Host, "err", err)
	}
}

// recording outlives the session's work: what happened is recorded also when it is being stopped.
func recording(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), answerTime)
}

func answer(c net.Conn, what guestapi.Answer) error {
	line, err := json.Marshal(what)
	if err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Now().Add(answerTime))
	_, err = c.Write(append(line, '\n'))
	_ = c.SetWriteDeadline(time.Time{})
	return err
}

// shown makes what a guest called a host fit to be recorded.
func shown(s string) string {
	const most = 100
	for _, r := range s {
		if r <= ' ' || r > '~' {
			s = fmt.Sprintf("%+q", s)
			break
		}
	}
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
