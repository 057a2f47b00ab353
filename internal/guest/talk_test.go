package guest_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
)

// talker returns a client of an agent that accepts cells in two ways. It answers a line on the connection for
// events with reply(line). It answers a POST request with 202, and counts the request in byRequest.
func talker(t *testing.T, byRequest *atomic.Int32, reply func(line string) string) *guest.Client {
	return clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			byRequest.Add(1)
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if r.Header.Get("Upgrade") != guestapi.Talk {
			t.Errorf("the request for events has the headers %v, want an upgrade to %s", r.Header, guestapi.Talk)
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		for lines := bufio.NewScanner(rw); lines.Scan(); {
			io.WriteString(c, reply(lines.Text()))
		}
	})
}

// follow reads the events of a kernel until the test ends.
func follow(t *testing.T, k *guest.Kernel) {
	ctx := t.Context()
	done := make(chan struct{})
	go func() { // the cleanup waits for this goroutine
		defer close(done)
		for range k.Events(ctx, 0) {
		}
	}()
	t.Cleanup(func() { <-done })
}

// tries is how often a test submits a cell. Until follow waits for events, the client sends each cell in a request.
// So a test repeats the cell until the client sends it on the connection.
const tries = 1000

func TestCellsAreSentOnTheConnectionOfTheEvents(t *testing.T) {
	var byRequest, byLine atomic.Int32
	k := talker(t, &byRequest, func(line string) string {
		byLine.Add(1)
		if strings.Contains(line, `"cell":"busy"`) {
			return `{"taken":{"cell":"busy","status":409,"error":"The kernel is busy."}}` + "\n"
		}
		return `{"taken":{"cell":"other","status":202}}` + "\n" + `{"taken":{"cell":"c1","status":202}}` + "\n"
	}).Kernel("k")
	follow(t, k)
	for range tries {
		if err := k.Execute(t.Context(), guestapi.Execute{Cell: "c1", Code: "1+1"}); err != nil {
			t.Fatal(err)
		}
	}
	if byLine.Load() == 0 {
		t.Fatalf("%d cells were sent by request, none on the connection", byRequest.Load())
	}
	for range tries {
		err := k.Execute(t.Context(), guestapi.Execute{Cell: "busy"})
		if err != nil && (cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), "The kernel is busy.")) {
			t.Fatalf("a cell for a busy kernel: %v, want the refusal of the agent", err)
		}
		if err != nil {
			return
		}
	}
	t.Errorf("%d cells for a busy kernel, none was refused", tries)
}

func TestAnInvalidLineEndsTheWaitForAnAnswer(t *testing.T) {
	var byRequest atomic.Int32
	for _, garbage := range []string{"{\"taken\":{\"cell\":\"c1\"\nx\n", fmt.Sprintf("{\"taken\":%s}\nx\n", strings.Repeat("[", 1<<20)), "x\n"} {
		k := talker(t, &byRequest, func(string) string { return garbage }).Kernel("k")
		follow(t, k)
		for range tries {
			if err := k.Execute(t.Context(), guestapi.Execute{Cell: "c1"}); err != nil {
				if cellhold.KindOf(err) != cellhold.Unavailable {
					t.Errorf("after the line %.20q: %v, want the kind unavailable", garbage, err)
				}
				break
			}
		}
	}
}
