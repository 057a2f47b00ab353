package forward

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// SOCKS version 5, RFC 1928, and its passwords, RFC 1929. Only CONNECT is supported: the egress has no
// datagrams and no incoming connections.
const (
	socksVersion = 5
	socksConnect = 1

	methodNone     = 0
	methodPassword = 2
	methodNoneFits = 0xff

	addrIPv4 = 1
	addrName = 3
	addrIPv6 = 4

	replyDone        = 0
	replyFailed      = 1
	replyNotAllowed  = 2
	replyUnreachable = 4
	replyNoCommand   = 7
	replyNoAddress   = 8
)

// socks serves one SOCKS connection of a program.
func (f *Forwarder) socks(ctx context.Context, c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(requestTime))
	if !f.socksGreet(c) {
		return
	}
	host, port, reply, err := socksRequest(c)
	if err != nil {
		return
	}
	if reply != replyDone {
		socksReply(c, reply)
		return
	}
	_ = c.SetDeadline(time.Time{})
	out, err := f.dial(ctx, host, port)
	if err != nil {
		_ = c.SetDeadline(time.Now().Add(requestTime))
		socksReply(c, socksCode(asRefusal(err)))
		return
	}
	if socksReply(c, replyDone) != nil {
		out.Close()
		return
	}
	join(ctx, c, out)
}

// socksGreet agrees on a method, and checks the password if there is one.
func (f *Forwarder) socksGreet(c net.Conn) bool {
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil || head[0] != socksVersion {
		return false
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(c, methods); err != nil {
		return false
	}
	want := byte(methodNone)
	if f.token != "" {
		want = methodPassword
	}
	if !slices.Contains(methods, want) {
		_, _ = c.Write([]byte{socksVersion, methodNoneFits})
		return false
	}
	if _, err := c.Write([]byte{socksVersion, want}); err != nil {
		return false
	}
	return want == methodNone || f.socksPassword(c)
}

func (f *Forwarder) socksPassword(c net.Conn) bool {
	version, err := readBytes(c, 1)
	if err != nil || version[0] != 1 {
		return false
	}
	if _, err := readCounted(c); err != nil { // any user name is accepted
		return false
	}
	password, err := readCounted(c)
	if err != nil {
		return false
	}
	if !f.isToken(string(password)) {
		_, _ = c.Write([]byte{1, 1})
		return false
	}
	_, err = c.Write([]byte{1, 0})
	return err == nil
}

// socksRequest reads the request of a program. reply is replyDone, or the code of the refusal.
func socksRequest(c io.Reader) (host string, port int, reply byte, err error) {
	head, err := readBytes(c, 4)
	if err != nil {
		return "", 0, 0, err
	}
	if head[0] != socksVersion {
		return "", 0, replyFailed, nil
	}
	switch head[3] {
	case addrIPv4, addrIPv6:
		size := 4
		if head[3] == addrIPv6 {
			size = 16
		}
		raw, err := readBytes(c, size)
		if err != nil {
			return "", 0, 0, err
		}
		a, _ := netip.AddrFromSlice(raw)
		host = a.String()
	case addrName:
		name, err := readCounted(c)
		if err != nil {
			return "", 0, 0, err
		}
		host = string(name)
	default:
		return "", 0, replyNoAddress, nil
	}
	raw, err := readBytes(c, 2)
	if err != nil {
		return "", 0, 0, err
	}
	if head[1] != socksConnect {
		return "", 0, replyNoCommand, nil
	}
	return host, int(binary.BigEndian.Uint16(raw)), replyDone, nil
}

func readBytes(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// readCounted reads a length byte and that number of bytes.
func readCounted(r io.Reader) ([]byte, error) {
	n, err := readBytes(r, 1)
	if err != nil {
		return nil, err
	}
	return readBytes(r, int(n[0]))
}

// socksReply answers a request. The address in the answer has no meaning here.
func socksReply(w io.Writer, code byte) error {
	_, err := w.Write([]byte{socksVersion, code, 0, addrIPv4, 0, 0, 0, 0, 0, 0})
	return err
}

func socksCode(e *refusal) byte {
	switch e.status {
	case http.StatusForbidden, http.StatusBadRequest:
		return replyNotAllowed
	case http.StatusBadGateway:
		return replyUnreachable
	}
	return replyFailed
}
