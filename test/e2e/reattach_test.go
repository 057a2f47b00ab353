package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"cellhold"
	"cellhold/client"
)

// reader reads a session's server-sent events without the Go client. To continue, it uses only the number of the
// last event.
type reader struct {
	last int64
	text strings.Builder // text of one cell
	cell cellhold.CellID
	done bool
}

// read connects after the last event, reads at most n events, and disconnects.
func (r *reader) read(t *testing.T, s *server, id cellhold.SessionID, n int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/sessions/"+string(id)+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Last-Event-ID", fmt.Sprint(r.last))
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for n > 0 && !r.done {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("read after event %d: got %v, want more events", r.last, err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			r.take(t, data)
			n--
		}
	}
}

// take adds the data of one server-sent event. The numbers of the events must have no gap.
func (r *reader) take(t *testing.T, data string) {
	t.Helper()
	var ev cellhold.Event
	if err := json.Unmarshal([]byte(data), &ev); err != nil {
		t.Fatal(err)
	}
	if ev.Seq != r.last+1 {
		t.Fatalf("got event %d after event %d, want %d", ev.Seq, r.last, r.last+1)
	}
	r.last = ev.Seq
	if ev.Cell != r.cell {
		return
	}
	if ev.Type == cellhold.EventStream {
		var c cellhold.StreamContent
		if err := ev.Decode(&c); err != nil {
			t.Fatal(err)
		}
		r.text.WriteString(c.Text)
	}
	r.done = ev.Type == cellhold.EventCellDone
}

func TestAReaderThatDisconnectsAHundredTimesGetsEveryByteOnce(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	first := serve(t, home)
	id := first.session(t, client.CreateSession{})
	c, err := first.Submit(t.Context(), id, client.Code{Code: `
import os, time
lines = 0
while not os.path.exists('enough'):
    print('line', lines, 'é' * (lines % 50), flush=True)
    lines += 1
    time.sleep(0.01)
`})
	if err != nil {
		t.Fatal(err)
	}

	// A second reader calls Watch once. Watch continues after the kill of the server.
	var watched strings.Builder
	var watching sync.WaitGroup
	watching.Go(func() {
		for ev, err := range first.Watch(t.Context(), id, 0) {
			if err != nil {
				t.Errorf("Watch: %v", err)
				return
			}
			var text cellhold.StreamContent
			if ev.Cell == c.ID && ev.Type == cellhold.EventStream && ev.Decode(&text) == nil {
				watched.WriteString(text.Text)
			}
			if ev.Cell == c.ID && ev.Type == cellhold.EventCellDone {
				return
			}
		}
	})

	r := &reader{cell: c.ID}
	random := rand.New(rand.NewPCG(1, 2))
	const drops = 100
	s := first
	for i := range drops {
		if i == drops/2 {
			first.signal(t, syscall.SIGKILL)
			s = serve(t, home, "--listen", strings.TrimPrefix(first.url, "http://"))
		}
		if r.read(t, s, id, 1+random.IntN(5)); r.done {
			t.Fatalf("the cell ended before disconnection %d, want a running cell", i)
		}
	}
	s.write(t, id, "enough", "")
	r.read(t, s, id, 1<<30)
	watching.Wait()
	var lines int
	if _, err := fmt.Sscan(s.must(t, id, "lines"), &lines); err != nil || lines < drops {
		t.Fatalf("got %d lines, %v; want at least %d", lines, err, drops)
	}
	t.Logf("%d disconnections within %d lines, the server was killed after %d", drops, lines, drops/2)
	var want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, "line", i, strings.Repeat("é", i%50))
	}
	for name, got := range map[string]string{"the reader that disconnected": r.text.String(), "Watch": watched.String()} {
		if got != want.String() {
			t.Errorf("%s got %d bytes, want %d", name, len(got), want.Len())
		}
	}
	if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusOK || text(c) != want.String() {
		t.Errorf("the cell is %s with %d bytes, %v; want ok with %d", c.Status, len(text(c)), err, want.Len())
	}
	var whole strings.Builder
	if err := s.Text(t.Context(), id, c.ID, "stdout", 0, &whole); err != nil || whole.String() != want.String() {
		t.Errorf("the text of the cell has %d bytes, %v; want %d", whole.Len(), err, want.Len())
	}
	late := &reader{cell: c.ID} // reads from the beginning, after the end of the cell
	late.read(t, s, id, 1<<30)
	if late.text.String() != want.String() {
		t.Errorf("a late reader got %d bytes, want %d", late.text.Len(), want.Len())
	}
}
