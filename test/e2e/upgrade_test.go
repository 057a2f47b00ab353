package e2e

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// switching is a site that changes to any protocol, and then reads HTTP again. It sends the host of each request to
// asked.
func switching(asked chan string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Host
		to := r.Header.Get("Upgrade")
		if to == "" {
			fmt.Fprintln(w, "no upgrade")
			return
		}
		c, ahead, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			to, base64.StdEncoding.EncodeToString(sum[:]))
		if next, err := http.ReadRequest(ahead.Reader); err == nil {
			asked <- next.Host
		}
		asked <- "end"
	})
}

// Sites at one address are told apart by their names in requests. The gate must see each of them.
func TestAConnectionReachesNoOtherSiteAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	o := newInternetFixture(t)
	asked := make(chan string, 10)
	o.files = switching(asked)
	s := serve(t, newHome(t), o.flags("--max-egress", "allowlist", "--egress-host", "*.example.org")...)
	id := s.session(t, client.CreateSession{
		Egress:  allow("a.example.org"),
		Secrets: []cellhold.Secret{{Name: "KEY", Host: "a.example.org", Value: "x"}}, // so the gate inspects every port of the host
	})
	s.must(t, id, strings.ReplaceAll(`
import socket
def talk(upgrade, then):
    x = socket.create_connection(("127.0.0.1", 3128), timeout=30)
    f = x.makefile("rb")
    def head():
        lines = []
        while (line := f.readline()) not in (b"\r\n", b""):
            lines.append(line)
        return lines[0].decode().split(" ", 1)[1].strip() if lines else "end"
    x.sendall(b"CONNECT a.example.org:PORT HTTP/1.1\r\nHost: a.example.org:PORT\r\n\r\n")
    said = [head()]
    x.sendall(b"GET /files/x HTTP/1.1\r\nHost: a.example.org:PORT\r\nConnection: Upgrade\r\n" + upgrade + b"\r\n")
    said.append(head())
    x.sendall(then)
    x.shutdown(socket.SHUT_WR)
    f.read()
    return said[1]
other = b"GET /files/x HTTP/1.1\r\nHost: b.example.org:PORT\r\n\r\n"
websocket = b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
`, "PORT", o.port))
	site := "a.example.org:" + o.port
	for _, x := range []struct {
		code, says string
		asked      []string
	}{
		{`talk(b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n", other)`, "200 OK", []string{site}},
		{`talk(b"Upgrade: x\r\n", other)`, "200 OK", []string{site}},
		{`talk(websocket, other)`, "101 Switching Protocols", []string{site, "end"}},
		{`talk(websocket, b"\x81\x84\0\0\0\0GET ")`, "101 Switching Protocols", []string{site, "end"}},
	} {
		if got := s.must(t, id, "print("+x.code+")"); !strings.HasPrefix(got, x.says) {
			t.Errorf("%s: got %s, want %s", x.code, got, x.says)
		}
		for _, want := range x.asked {
			if got := <-asked; got != want {
				t.Errorf("%s: the site got %s, want %s", x.code, got, want)
			}
		}
	}
	if len(asked) > 0 {
		t.Errorf("the site got another request, for %s", <-asked)
	}
}
