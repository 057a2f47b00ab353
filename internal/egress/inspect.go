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
	// firstTime is the time limit for the first byte. It can be short, because the program has just requested the
	// connection.
	firstTime = time.Minute
	// maxHello bounds the ClientHello of TLS. With post-quantum keys it has about 2 KiB.
	maxHello = 32 << 10
	// recordHandshake is the first byte of every TLS connection.
	recordHandshake = 0x16
)

// inspected reports whether the gate checks that the traffic names the requested host. The check is possible for
// TLS and HTTP. On other ports that the operator opened, a program can use any protocol. In some of these protocols
// the server sends the first data, so the gate cannot wait for the first data of the program. Hosts with secrets
// are always inspected.
func (g *Gate) inspected(h Host, port int) bool { return g.web[port] || g.o.Vault.has(h) }

// inspect carries a connection on which the program must name the requested host. Without this check, an allowed name would
// give access to all other hosts behind the same address.
func (a *attempt) inspect(ctx context.Context, h Host, guest *guestConn, out net.Conn) {
	_ = guest.SetReadDeadline(time.Now().Add(firstTime))
	first, err := guest.r.Peek(1)
	_ = guest.SetReadDeadline(time.Time{})
	if err != nil {
		return // the guest closed the connection
	}
	if first[0] != recordHandshake {
		a.relay(ctx, h, guest, out, false)
		return
	}
	name, seen, err := hello(guest)
	if err != nil {
		a.setRefused("The connection began like TLS, but has no valid ClientHello.")
		return
	}
	if why := wrongName(name, h); why != "" {
		a.setRefused(why)
		return
	}
	again := &replayed{Conn: guest, r: io.MultiReader(bytes.NewReader(seen), guest)}
	if !a.gate.o.Vault.has(h) {
		a.carry(ctx, again, out)
		return
	}
	a.terminateTLS(ctx, h, again, out)
}

// wrongName returns the reason why the name in a ClientHello does not match the host, or "" if it matches.
func wrongName(name string, h Host) string {
	if name == "" {
		return "" // without a name, the server at the address decides which site it shows
	}
	if said, err := ParseHost(name); err != nil || said != h {
		return fmt.Sprintf("The TLS ClientHello names %s, but the program requested a connection to %s.", printable(name), h)
	}
	return ""
}

// setRefused sets the reason why the policy ended the connection.
func (a *attempt) setRefused(why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = why
}

// setReason sets the reason of a failure that is not a refusal.
func (a *attempt) setReason(why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.record.Reason = why
}

// hello reads the ClientHello of a TLS client. It returns the server name in it, and all bytes that were read.
func hello(c net.Conn) (name string, seen []byte, err error) {
	rec := &recorder{Conn: c, left: maxHello}
	_ = c.SetReadDeadline(time.Now().Add(firstTime))
	defer c.SetReadDeadline(time.Time{})
	found := errors.New("the ClientHello is read")
	err = tls.Server(rec, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		name = info.ServerName
		return nil, found
	}}).Handshake()
	if !errors.Is(err, found) {
		return "", nil, err
	}
	return name, rec.seen.Bytes(), nil
}

// recorder stores the bytes that are read, up to a limit, and discards writes.
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

// replayed is a connection whose first bytes can be read again.
type replayed struct {
	net.Conn
	r io.Reader
}

func (r *replayed) Read(p []byte) (int, error) { return r.r.Read(p) }

// CloseWrite tells the other end that no more data follows.
func (r *replayed) CloseWrite() error { return closeWrite(r.Conn) }

// counted counts and limits the guest's data on a connection whose HTTP requests are forwarded. The HTTP server
// sets the deadlines of the connection.
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
