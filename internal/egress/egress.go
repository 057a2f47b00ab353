// Package egress is the host's side of the network access of a sandbox. It decides which hosts the code of a session can
// reach, makes the connections, and records every attempt.
//
// A sandbox has no network. Programs in it use a proxy on their loopback interface. The proxy sends requests to a Gate over
// connections that the Gate opened, and only the Gate dials. So a guest cannot open connections to the host, and it has no
// network access without a Gate.
//
// Everything that comes from the guest is hostile. A request is one short line. The Gate first converts the requested host
// name or address to one canonical form. It compares, looks up, dials and records only this form.
//
// The package does not know sessions or sandboxes. Functions in Options open its connections and record its attempts. Each
// lock belongs to one struct. dialer.mu is not held during I/O.
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
	"cellhold/internal/pause"
)

const (
	// idleConns is the number of connections that wait for a request of the guest. They save a round trip for the first
	// requests of a burst.
	idleConns = 4
	// maxConns bounds the connections of a session, including the idle ones. Each can hold 256 KiB of the guest's data,
	// and as much again in buffers.
	maxConns = 48
	// attemptRate and attemptBurst bound the attempts of a session in a second and at once. Further attempts wait.
	attemptRate  = 10
	attemptBurst = 100
	// answerTime bounds the time to write one answer, and the time to record one attempt.
	answerTime = 10 * time.Second
	// firstRetry and lastRetry are the shortest and longest wait after a failure of Next.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Options configures a Gate.
type Options struct {
	Policy Policy
	Rules  *Rules // the operator's rules; required

	// Next opens a connection to the guest. The guest can request one outside connection on it. Next must return when its
	// context ends. Required.
	Next func(context.Context) (net.Conn, error)

	// Record stores an attempt. If it fails, the guest gets no connection. Required.
	Record func(context.Context, cellhold.EgressAttempt) error

	Vault  *Vault // the secrets of the session; can be nil
	Limits Limits
	Logger *slog.Logger // nil: no log
}

// Limits bounds the connections of a gate.
type Limits struct {
	Bytes int64         // maximum for both directions and all connections together; 0 means 16 GiB
	Idle  time.Duration // maximum time without data on a connection; 0 means 10 min
	Age   time.Duration // maximum age of a connection; 0 means 6 h
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

// Gate gives one session the network access that its policy allows.
type Gate struct {
	o      Options
	dialer *dialer
	meter  *meter
	ledger *ledger
	web    map[int]bool // ports on which only TLS and HTTP are allowed
}

// New returns a gate. It makes no connections before Run.
func New(o Options) (*Gate, error) {
	if o.Rules == nil || o.Next == nil || o.Record == nil {
		return nil, errors.New("egress: Rules, Next and Record are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Limits = o.Limits.withDefaults()
	return &Gate{o: o, dialer: newDialer(o.Rules, o.Policy), meter: &meter{most: o.Limits.Bytes},
		ledger: &ledger{record: o.Record}, web: map[int]bool{80: true, 443: true}}, nil
}

// Run serves the guest until the context ends, and returns when all connections are closed. If the policy allows nothing,
// Run returns at once.
func (g *Gate) Run(ctx context.Context) {
	if g.o.Policy.None() {
		return
	}
	var run sync.WaitGroup
	defer run.Wait()
	slots := make(chan struct{}, maxConns)
	waiting := make(chan struct{}, idleConns)
	pace := rate.NewLimiter(attemptRate, attemptBurst)
	wait := firstRetry
	for {
		if !acquire(ctx, slots) || !acquire(ctx, waiting) || pace.Wait(ctx) != nil {
			return
		}
		c, err := g.o.Next(ctx)
		if err != nil {
			<-slots
			<-waiting
			g.o.Logger.Debug("the guest accepts no connection", "err", err)
			if !pause.For(ctx, wait) {
				return
			}
			wait = min(2*wait, lastRetry)
			continue
		}
		wait = firstRetry
		run.Go(func() {
			defer func() { <-slots }()
			g.serve(ctx, c, sync.OnceFunc(func() { <-waiting }))
		})
	}
}

// acquire waits for one of the places. It returns false if the context ends first.
func acquire(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// serve serves one connection: a request, an answer, and then the data. It calls requested when it has read the request, or
// when it returns.
func (g *Gate) serve(ctx context.Context, c net.Conn, requested func()) {
	defer requested()
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { abort(c) })
	defer stop()
	r := bufio.NewReaderSize(c, guestapi.MaxLine)
	line, err := r.ReadSlice('\n')
	requested()
	if err != nil {
		return // the guest closed the connection, or the line is too long
	}
	var ask guestapi.Ask
	if err := json.Unmarshal(line, &ask); err != nil {
		return
	}
	a := &attempt{gate: g, record: cellhold.EgressAttempt{
		ID: strings.ToLower(rand.Text()[:12]), Time: time.Now().UTC(), Host: printable(ask.Host), Port: ask.Port}}
	a.run(ctx, ask, &guestConn{Conn: c, r: r})
}

// guestConn is a connection to the guest, including the data that was read ahead.
type guestConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *guestConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// CloseWrite tells the guest that no more data follows.
func (c *guestConn) CloseWrite() error { return closeWrite(c.Conn) }

// attempt is one request and its outcome.
type attempt struct {
	gate   *Gate
	record cellhold.EgressAttempt
	listed bool // the start is recorded, so the end must be recorded too

	mu      sync.Mutex // guards refused, and record during a relay
	refused string     // why the policy ended the connection after its start; empty if it did not
}

// run decides on the request, answers it, and copies the data of the connection.
func (a *attempt) run(ctx context.Context, ask guestapi.Ask, c *guestConn) {
	host, err := ParseHost(ask.Host)
	if err == nil {
		a.record.Host = host.String()
		err = a.gate.dialer.permit(host, ask.Port)
	}
	var out net.Conn
	if err == nil {
		out, err = a.gate.dialer.dial(ctx, host, ask.Port)
	}
	if err != nil {
		a.fail(ctx, c, err)
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

const unrecorded = "The connection was not made, because the attempt could not be recorded. The server's disk can be full."

// fail records why no connection was made, and answers the guest. The attempt was refused or has failed.
func (a *attempt) fail(ctx context.Context, c net.Conn, err error) {
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
		a.record.Reason = failureReason(err)
	}
	say := guestapi.Answer{Refused: a.record.Decision == cellhold.EgressRefused, Error: a.record.Reason}
	if a.begin(ctx) != nil {
		say.Error = unrecorded
	}
	_ = answer(c, say)
}

// failureReason returns the reason of a failed connection for the guest. The reason has no details of the server's network.
func failureReason(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "No host has this name."
		}
		return "The name could not be looked up."
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return "The host did not answer in time."
	}
	return "The host refused the connection, or there is no route to it."
}

// begin records the decision.
func (a *attempt) begin(ctx context.Context) (err error) {
	ctx, cancel := recording(ctx)
	defer cancel()
	a.listed, err = a.gate.ledger.begin(ctx, a.record)
	if err != nil {
		a.gate.o.Logger.Warn("cannot record an attempt", "host", a.record.Host, "err", err)
	}
	return err
}

// end records the end of a connection whose start is recorded.
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
		a.gate.o.Logger.Warn("cannot record the end of a connection", "host", a.record.Host, "err", err)
	}
}

// recording returns a context for one call of Record. The end of the session does not cancel it, because attempts are also
// recorded while the session ends.
func recording(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), answerTime)
}

// answer writes one answer line to the guest.
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

// printable returns a short printable form of a host that a guest requested.
func printable(s string) string {
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
