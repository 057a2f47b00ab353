package egress

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cellhold"
)

const handshakeKey = "dGhlIHNhbXBsZSBub25jZQ=="

// handshake returns the headers of a handshake of WebSocket.
func handshake(key string) []string {
	return []string{"Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: " + key + "\r\n"}
}

// accepts returns the answer of a host to a handshake.
func accepts(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
}

// newHost is a web server with a handler of its own.
func newHost(t testing.TB, handler http.HandlerFunc) *site {
	t.Helper()
	s := &site{Server: httptest.NewServer(handler)}
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.port, _ = strconv.Atoi(u.Port())
	return s
}

// newSwitcher is a host that sends answer to every request, and then reads. read gets what it read.
func newSwitcher(t testing.TB, answer string) (s *site, read chan string) {
	read = make(chan string, 1)
	return newHost(t, func(w http.ResponseWriter, _ *http.Request) {
		c, ahead, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, answer)
		got, _ := io.ReadAll(ahead)
		read <- string(got)
	}), read
}

// frame returns a frame with a mask.
func frame(first byte, mask, content string) string {
	var b strings.Builder
	b.WriteByte(first)
	switch n := len(content); {
	case n < 126:
		b.WriteByte(0x80 | byte(n))
	case n < 1<<16:
		b.WriteString(string([]byte{0x80 | 126, byte(n >> 8), byte(n)}))
	default:
		b.WriteString(string([]byte{0x80 | 127, 0, 0, 0, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}))
	}
	b.WriteString(mask)
	for i := range len(content) {
		b.WriteByte(content[i] ^ mask[i%4])
	}
	return b.String()
}

// contents reads frames, and returns their first bytes, their masks and their contents.
func contents(t testing.TB, wire string) (list []string) {
	t.Helper()
	for len(wire) > 0 {
		n, size := int(wire[1]&0x7f), 2
		wide := map[int]int{126: 2, 127: 8}[n]
		if wide > 0 {
			n = 0
			for _, b := range []byte(wire[2 : 2+wide]) {
				n = n<<8 | int(b)
			}
		}
		size += wide
		mask, body := wire[size:size+4], wire[size+4:size+4+n]
		plain := []byte(body)
		for i := range plain {
			plain[i] ^= mask[i%4]
		}
		list = append(list, wire[:1], mask, string(plain))
		wire = wire[size+4+n:]
	}
	return list
}

func TestAnUpgradeToAnotherProtocolThanWebSocketIsNotSent(t *testing.T) {
	s := newHost(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%v %v", r.Header["Upgrade"], r.Header["Http2-Settings"])
	})
	r := webRig(t, s, list(t, "example.com"), nil)
	good := handshake(handshakeKey)
	for name, header := range map[string][]string{
		"HTTP/2":                  {"Connection: Upgrade, HTTP2-Settings\r\n", "Upgrade: h2c\r\n", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"},
		"TLS":                     {"Connection: Upgrade\r\n", "Upgrade: TLS/1.0\r\n"},
		"two protocols":           append(slices.Clone(good), "Upgrade: h2c\r\n"),
		"two protocols in a line": {good[0], "Upgrade: websocket, h2c\r\n", good[2], good[3]},
		"no key":                  good[:3],
		"a short key":             {good[0], good[1], good[2], "Sec-WebSocket-Key: c2hvcnQ=\r\n"},
		"another version":         {good[0], good[1], "Sec-WebSocket-Version: 8\r\n", good[3]},
	} {
		c, _ := r.ask("example.com", s.port)
		if status, body := get(t, c, fmt.Sprintf("example.com:%d", s.port), header...); status != 200 || body != "[] []" {
			t.Errorf("%s: got status %d, and the host got %s; want 200 and no such header", name, status, body)
		}
	}
}

// After the change, the host would read a request with any host name in it.
func TestAHostCannotChangeTheProtocolExceptToWebSocket(t *testing.T) {
	plain := []string{"Connection: Upgrade\r\n", "Upgrade: x\r\n"}
	for name, x := range map[string]struct {
		header []string
		answer string
	}{
		"without a wish":      {nil, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"},
		"without a protocol":  {nil, "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
		"to what was wished":  {plain, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"},
		"with another key":    {handshake(handshakeKey), accepts("AAAAAAAAAAAAAAAAAAAAAA==")},
		"to another protocol": {handshake(handshakeKey), strings.Replace(accepts(handshakeKey), "websocket", "h2c", 1)},
	} {
		s, read := newSwitcher(t, x.answer)
		r := webRig(t, s, list(t, "example.com"), nil)
		c, _ := r.ask("example.com", s.port)
		_ = r.attempt()
		status, body := get(t, c, fmt.Sprintf("example.com:%d", s.port), x.header...)
		if status != http.StatusBadGateway || !strings.Contains(body, "WebSocket") {
			t.Errorf("%s: got status %d with %s, want 502 with the word WebSocket", name, status, body)
		}
		_, _ = io.WriteString(c, "GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n")
		c.Close()
		if got := <-read; got != "" {
			t.Errorf("%s: the host got %q after its answer, want nothing", name, got)
		}
		if end := r.attempt(); end.Decision != cellhold.EgressRefused {
			t.Errorf("%s: recorded %+v, want decision refused", name, end)
		}
	}
}

// opened returns a connection after a handshake, and what the host reads on it.
func opened(t *testing.T) (c net.Conn, r *rig, read chan string) {
	t.Helper()
	s, read := newSwitcher(t, accepts(handshakeKey)+"\x81\x02hi")
	r = webRig(t, s, list(t, "example.com"), nil)
	c, _ = r.ask("example.com", s.port)
	_ = r.attempt()
	fmt.Fprintf(c, "GET /x HTTP/1.1\r\nHost: example.com:%d\r\n%s\r\n", s.port, strings.Join(handshake(handshakeKey), ""))
	b := bufio.NewReader(c)
	if res, err := http.ReadResponse(b, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got the answer %v, %v; want status 101", res, err)
	}
	if got, err := io.ReadAll(io.LimitReader(b, 4)); string(got) != "\x81\x02hi" {
		t.Fatalf("got %q, %v; want the frame of the host", got, err)
	}
	return c, r, read
}

func TestAWebSocketCarriesMessagesWithOtherMasks(t *testing.T) {
	c, r, read := opened(t)
	const request = "GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n"
	if _, err := io.WriteString(c, frame(0x81, "\x00\x00\x00\x00", request)+frame(0x88, "abcd", "")); err != nil {
		t.Fatal(err)
	}
	_ = c.(*guestConn).Conn.(*net.TCPConn).CloseWrite()
	wire := <-read
	got := contents(t, wire)
	if len(got) != 6 || got[0] != "\x81" || got[2] != request || got[3] != "\x88" || got[5] != "" {
		t.Fatalf("the host got %q, want the message and the end", got)
	}
	if got[1] == "\x00\x00\x00\x00" || strings.Contains(wire, request) {
		t.Errorf("the host got the bytes %q, want another mask: the program must not choose them", wire)
	}
	c.Close()
	if end := r.attempt(); end.Decision != cellhold.EgressAllowed || end.Sent == 0 {
		t.Errorf("recorded %+v, want decision allowed, with the sent bytes", end)
	}
}

func TestOtherDataThanFramesEndsAWebSocket(t *testing.T) {
	c, r, read := opened(t)
	_, _ = io.WriteString(c, frame(0x81, "abcd", "well")+"GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n")
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v; want the end of the connection", rest, err)
	}
	if got := contents(t, <-read); len(got) != 3 || got[2] != "well" {
		t.Errorf("the host got %q, want the message only", got)
	}
	if end := r.attempt(); end.Decision != cellhold.EgressRefused || !strings.Contains(end.Reason, "WebSocket") {
		t.Errorf("recorded %+v, want decision refused with a reason", end)
	}
}

// memory is a connection that stores what is written.
type memory struct{ bytes.Buffer }

func (m *memory) Close() error { return nil }

func TestFramesAreCheckedByteByByte(t *testing.T) {
	const mask = "abcd"
	long := strings.Repeat("x", 70000)
	for name, x := range map[string]struct {
		wire     string
		extended bool
		well     bool
	}{
		"messages":               {frame(0x81, mask, "a") + frame(0x82, mask, long[:200]) + frame(0x82, mask, long), false, true},
		"a message in parts":     {frame(0x01, mask, "a") + frame(0x89, mask, "ping") + frame(0x00, mask, "b") + frame(0x80, mask, "c"), false, true},
		"a compressed message":   {frame(0xc1, mask, "a"), true, true},
		"compressed for no one":  {frame(0xc1, mask, "a"), false, false},
		"an unknown bit":         {frame(0xa1, mask, "a"), true, false},
		"an unknown code":        {frame(0x83, mask, "a"), true, false},
		"no mask":                {"\x81\x01a", false, false},
		"a part of no message":   {frame(0x80, mask, "a"), false, false},
		"a message in a message": {frame(0x01, mask, "a") + frame(0x81, mask, "b"), false, false},
		"a long ping":            {frame(0x89, mask, long[:126]), false, false},
		"a ping in parts":        {frame(0x09, mask, "a"), false, false},
		"a frame after the end":  {frame(0x88, mask, "") + frame(0x81, mask, "a"), false, false},
		"a length of 64 bits":    {"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00abcd", false, false},
		"HTTP/2":                 {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true, false},
		"HTTP after a new line":  {"\n\nGET / HTTP/1.1\r\n\r\n", true, false},
	} {
		out, why := &memory{}, ""
		f := &frames{ReadWriteCloser: out, extended: x.extended, refuse: func(w string) { why = w }}
		var err error
		for i := 0; i < len(x.wire) && err == nil; i++ {
			_, err = f.Write([]byte(x.wire[i : i+1]))
		}
		if (err == nil) != x.well || (why == "") != x.well || err != nil && !errors.Is(err, errFrame) {
			t.Errorf("%s: got %v and the reason %q, want no error: %t", name, err, why, x.well)
		}
		if !x.well {
			continue
		}
		want, got := contents(t, x.wire), contents(t, out.String())
		for i := range want {
			if i%3 != 1 && (len(got) != len(want) || got[i] != want[i]) {
				t.Errorf("%s: part %d differs", name, i)
				break
			}
		}
	}
}
