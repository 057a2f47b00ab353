package connections

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

const refusal = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull"

func TestAConnectionAboveTheLimitGetsAnAnswerAndLaterOnesAreServed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var refusals []int
	l := Limit(ln, 2, refusal, func(open int) { refusals = append(refusals, open) })
	accepted := make(chan net.Conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	first, second := dial(t, ln), dial(t, ln)
	held := []net.Conn{<-accepted, <-accepted}

	third := dial(t, ln)
	if _, err := io.WriteString(third, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(third), nil)
	if err != nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") != "1" {
		t.Errorf("got %v, %v, want 503 with Retry-After", res, err)
	}

	held[0].Close()
	held[0].Close() // counts once
	dial(t, ln)
	select {
	case c := <-accepted:
		c.Close()
	case <-time.After(10 * time.Second):
		t.Error("a connection after the end of another one is not accepted")
	}
	held[1].Close()
	first.Close()
	second.Close()
	l.Close()
	<-ended
	if len(refusals) != 1 || refusals[0] != 2 {
		t.Errorf("got the refusals %v, want one with 2 open connections", refusals)
	}
	if n := l.(*limited).open.Load(); n != 0 {
		t.Errorf("%d connections are counted at the end, want 0", n)
	}
}

func dial(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestHalfOfTheDescriptorsAreForConnections(t *testing.T) {
	for files, want := range map[uint64]int{0: 8, 64: 32, 1024: 512, 1 << 20: 16384, 1<<64 - 1: 16384} {
		if got := Most(files); got != want {
			t.Errorf("%d descriptors: got %d connections, want %d", files, got, want)
		}
	}
}
