package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// firstTime is how long a program may take to begin to speak: it asked for the connection.
	firstTime = time.Minute
	// maxHello bounds the greeting of TLS; one with post-quantum keys takes 2 KiB.
	maxHello = 32 << 10
	// recordHandshake is the first byte of every TLS connection.
	recordHandshake = 0x16
)

// inspected reports whether it is checked that the program on a connection speaks to the host that
// it asked for. That can be told of TLS and HTTP. On other ports, which the operator has opened, any
// protocol may run, also one in which the server speaks first; what has secrets is always inspected.
func (g *Gate) inspected(h Host, port int) bool { return g.web[port] || g.o.Vault.has(h) }

// inspect carries a connection whose program must name the host that it asked for. Otherwise a name on
// the list would open the way to all others behind the same address.
func (a *attempt) inspect(ctx context.Context, h Host, guest *guestConn, out net.Conn) {
	_ = guest.SetReadDeadline(time.Now().Add(firstTime))
	first, err := guest.r.Peek(1)
	_ = guest.SetReadDeadline(time.Time{})
	if err != nil {
		return // it went away
	}
	if first[0] != recordHandshake {
		a.relay(ctx, h, guest, out, false)
		return
	}
	name, seen, err := hello(guest)
	if err != nil {
		a.breakOff("The connection began like TLS and went on differently.")
		return
	}
	if why := wrongName(name, h); why != "" {
		a.breakOff(why)
		return
	}
	again := &replayed{Conn: guest, r: io.MultiReader(bytes.NewReader(seen), guest)}
	if !a.gate.o.Vault.has(h) {
		a.carry(ctx, again, out)
		return
	}
	a.broker(ctx, h, again, out)
}

// wrongName says why the name in a TLS greeting is not that of the host.
func wrongName(name string, h Host) string {
	if name == "" {
		return "" // then the server at that address decides, as for one without a name
	}
	if said, err := ParseHost(name); err != nil || said != h {
		return fmt.Sprintf("The TLS greeting names %s, and the connection was asked for to %s.", shown(name), h)
	}
	return ""
}

// breakOff notes that the connection was ended by the policy, note that something else went wrong.
func (a *attempt) breakOff(why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = why
}

func (a *attempt) note(why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.record.Reason = why
}

// hello reads the greeting of a TLS client and returns the server's name in it, and all that was read.
func hello(c net.Conn) (name string, seen []byte, err error) {
	rec := &recorder{Conn: c, left: maxHello}
	_ = c.SetReadDeadline(time.Now().Add(firstTime))
	defer c.SetReadDeadline(time.Time{})
	found := errors.New("greeting seen")
	err = tls.Server(rec, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		name = info.ServerName
		return nil, found
	}}).Handshake()
	if !errors.Is(err, found) {
		return "", nil, err
	}
	return name, rec.seen.Bytes(), nil
}

// recorder keeps what is read, up to a bound, and writes nothing.
type recorder struct {
	net.Conn
	seen bytes.Buffer
	left int
}

func (r *recorder) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.ErrShortBuffer
	}
	n, err := r.Conn.Read(p[:min(len(p), r.left)])
	r.left -= n
	r.seen.Write(p[:n])
	return n, err
}

func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }
func (r *recorder) Close() error                { return nil }

// replayed is a connection whose beginning is read once more.
type replayed struct {
	net.Conn
	r io.Reader
}

func (r *replayed) Read(p []byte) (int, error) { return r.r.Read(p) }

// counted counts and bounds what the guest sends and gets on a connection that is not copied as it
// is. Deadlines are those of the protocol that runs on it.
type counted struct {
	net.Conn
	a    *attempt
	done chan struct{}
	once sync.Once
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return c.note(n, err, &c.a.record.Sent)
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return c.note(n, err, &c.a.record.Received)
}

func (c *counted) note(n int, err error, count *int64) (int, error) {
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	*count += int64(n)
	if n > 0 && !c.a.gate.meter.take(n) {
		c.a.record.Reason = string(errTooMuch)
		abort(c.Conn)
		return 0, errTooMuch
	}
	return n, err
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.done) })
	return err
}
