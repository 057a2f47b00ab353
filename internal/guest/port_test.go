package guest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
)

func TestAnAgentWithoutPortsIsUnsupported(t *testing.T) {
	if _, err := agentOf(t, guestapi.Version-1).DialPort(t.Context(), 80); cellhold.KindOf(err) != cellhold.Unsupported {
		t.Errorf("got %v, want unsupported", err)
	}
	if _, err := agentOf(t, guestapi.Version).DialPort(t.Context(), 80); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("a port without a program: got %v, want not found", err)
	}
}

func TestADialOfAPortEndsWithItsContext(t *testing.T) {
	for name, answer := range map[string]string{
		"says nothing":                 "",
		"says half a header":           "HTTP/1.1 101 Switching",
		"says half of its refusal":     "HTTP/1.1 409 Conflict\r\nContent-Length: 1000\r\n\r\n{",
		"says that the header is long": "HTTP/1.1 101 x\r\nA: " + strings.Repeat("a", 100),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			host, agent := net.Pipe()
			defer agent.Close()
			go func() {
				if _, err := http.ReadRequest(bufio.NewReader(agent)); err == nil {
					_, _ = io.WriteString(agent, answer)
				}
			}()
			c, err := guest.New(guest.Options{Dial: func(context.Context) (net.Conn, error) { return host, nil }})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.DialPort(ctx, 80); err == nil || ctx.Err() == nil {
				t.Errorf("got %v, want the end of the context", err)
			}
			if _, err := host.Write([]byte("x")); err == nil {
				t.Error("the connection is open, want it closed")
			}
		})
	}
}

func TestAnAgentWithAnEndlessHeaderIsRefused(t *testing.T) {
	host, agent := net.Pipe()
	defer agent.Close()
	sent := make(chan int, 1)
	go func() {
		n := 0
		if _, err := http.ReadRequest(bufio.NewReader(agent)); err == nil {
			for i := 0; err == nil; i++ {
				var m int
				line := fmt.Sprintf("X-%d: %s\r\n", i, strings.Repeat("a", 1000))
				if i == 0 {
					line = "HTTP/1.1 101 Switching Protocols\r\n"
				}
				m, err = io.WriteString(agent, line)
				n += m
			}
		}
		sent <- n
	}()
	c, err := guest.New(guest.Options{Dial: func(context.Context) (net.Conn, error) { return host, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DialPort(t.Context(), 80); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
	if n := <-sent; n > 20<<10 {
		t.Errorf("the host read %d bytes, want about 8 KiB", n)
	}
}
