package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	greetingSize = 64
	maxIdentity  = 255 // from the specification
	maxContext   = 16  // of a PING, from the specification
)

// greeting returns the complete greeting: signature, version 3.0, NULL, not a server, filler.
func greeting() []byte {
	g := make([]byte, greetingSize)
	g[0], g[9] = 0xff, 0x7f
	g[10], g[11] = 3, 0
	copy(g[12:32], "NULL")
	return g
}

func checkGreeting(g []byte) error {
	if g[0] != 0xff || g[9]&1 != 1 {
		return fmt.Errorf("%w: no greeting", ErrProtocol)
	}
	if g[10] < 3 {
		return fmt.Errorf("%w: version %d is not supported", ErrProtocol, g[10])
	}
	if name := bytes.TrimRight(g[12:32], "\x00"); string(name) != "NULL" {
		return fmt.Errorf("%w: the mechanism %.20q is not supported", ErrProtocol, name)
	}
	return nil
}

// handshake exchanges greetings and then READY. The order matters. libzmq 4.3.4 drops a connection whose
// READY comes in the same write as the greeting. So READY waits for all 64 bytes of the peer's greeting.
func (c *Conn) handshake(o Options) error {
	if _, err := c.nc.Write(greeting()); err != nil {
		return err
	}
	var g [greetingSize]byte
	if _, err := io.ReadFull(c.r, g[:]); err != nil {
		return err
	}
	if err := checkGreeting(g[:]); err != nil {
		return err
	}
	if err := c.sendCommand(readyBody(Peer{o.Type, o.Identity})); err != nil {
		return err
	}
	name, body, err := c.readCommand()
	if err != nil {
		return err
	}
	switch name {
	case "READY":
		c.peer, err = parseReady(body)
	case "ERROR":
		err = refusal(body)
	default:
		err = fmt.Errorf("%w: %.20q instead of READY", ErrProtocol, name)
	}
	if err == nil && !slices.Contains(partners[o.Type], c.peer.Type) {
		err = fmt.Errorf("%w: its socket type is %.20q", ErrProtocol, c.peer.Type)
	}
	return err
}

func readyBody(p Peer) []byte {
	b := appendProperty([]byte("\x05READY"), "Socket-Type", string(p.Type))
	if len(p.Identity) > 0 || p.Type == Dealer {
		b = appendProperty(b, "Identity", string(p.Identity))
	}
	return b
}

func appendProperty(b []byte, name, value string) []byte {
	b = append(append(b, byte(len(name))), name...)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
}

// parseReady reads the properties of a READY. It skips unknown ones.
func parseReady(b []byte) (Peer, error) {
	var p Peer
	for len(b) > 0 {
		name, rest, ok := short(b)
		if !ok || len(name) == 0 || len(rest) < 4 {
			return Peer{}, fmt.Errorf("%w: READY ends inside a property", ErrProtocol)
		}
		size := binary.BigEndian.Uint32(rest)
		if rest = rest[4:]; uint64(size) > uint64(len(rest)) {
			return Peer{}, fmt.Errorf("%w: READY has a property of %d bytes", ErrProtocol, size)
		}
		value := rest[:size]
		b = rest[size:]
		switch strings.ToLower(string(name)) {
		case "socket-type":
			p.Type = SocketType(value)
		case "identity":
			if len(value) > maxIdentity {
				return Peer{}, fmt.Errorf("%w: identity of %d bytes", ErrProtocol, size)
			}
			p.Identity = value
		}
	}
	return p, nil
}

// short splits off a string with a length of one byte.
func short(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || int(b[0]) > len(b)-1 {
		return nil, nil, false
	}
	n := 1 + int(b[0])
	return b[1:n], b[n:], true
}

// readCommand reads a command where no message is allowed.
func (c *Conn) readCommand() (name string, body []byte, err error) {
	h, err := readHeader(c.r)
	if err != nil {
		return "", nil, err
	}
	if !h.isCommand() {
		return "", nil, fmt.Errorf("%w: a message before READY", ErrProtocol)
	}
	return c.commandBody(h.size)
}

func (c *Conn) commandBody(size int64) (name string, body []byte, err error) {
	b, err := readBody(c.r, size)
	if err != nil {
		return "", nil, unexpectedEOF(err)
	}
	n, body, ok := short(b)
	if !ok || len(n) == 0 {
		return "", nil, fmt.Errorf("%w: a command without a name", ErrProtocol)
	}
	return string(n), body, nil
}

// command reads and handles a command between messages.
func (c *Conn) command(size int64) error {
	name, body, err := c.commandBody(size)
	if err != nil {
		return fmt.Errorf("zmtp: receive a command: %w", err)
	}
	switch name {
	case "PING":
		// Two bytes have the time that the peer will wait; the rest must be sent back. A peer that gets no
		// answer disconnects.
		if len(body) < 2 || len(body) > 2+maxContext {
			return fmt.Errorf("zmtp: %w: PING of %d bytes", ErrProtocol, len(body))
		}
		err := c.sendCommand(append([]byte("\x04PONG"), body[2:]...))
		if errors.Is(err, ErrFull) {
			return nil // the peer would read the answer after all messages that wait
		}
		return err
	case "ERROR":
		return fmt.Errorf("zmtp: %w", refusal(body))
	default:
		return nil // PONG, and commands of later versions
	}
}

func (c *Conn) sendCommand(body []byte) error {
	return c.write(append(appendHeader(nil, flagCommand, len(body)), body...), maxWaiting)
}

func refusal(body []byte) error {
	reason, _, _ := short(body)
	return fmt.Errorf("%w: the peer refused the connection: %.255q", ErrProtocol, reason)
}
