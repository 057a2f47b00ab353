package agent_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox/fake"
)

// talk is the host's end of a connection for a kernel's events and cells.
type talk struct {
	*rig
	conn  net.Conn
	lines *bufio.Scanner
}

func (r *rig) talk() *talk {
	r.Helper()
	conn, err := r.dial(r.ctx)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /v1/kernels/toy/events HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", guestapi.Talk)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		r.Fatalf("the answer to the upgrade: %+v, %v", resp, err)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, guestapi.MaxEvent)
	return &talk{r, conn, lines}
}

// submit sends a cell.
func (t *talk) submit(e guestapi.Execute) {
	t.Helper()
	e.Timeout = patience
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := t.conn.Write(append(b, '\n')); err != nil {
		t.Fatal(err)
	}
}

// receive reads lines until it has a number of answers, and the end of the cell with the id done. If done is empty, it
// waits only for the answers.
func (t *talk) receive(answers int, done cellhold.CellID) (taken []guestapi.Taken, end *guestapi.Event) {
	t.Helper()
	for len(taken) < answers || done != "" && end == nil {
		if !t.lines.Scan() {
			t.Fatalf("the connection ended: %v; answers so far: %+v", t.lines.Err(), taken)
		}
		var l guestapi.TalkLine
		var e guestapi.Event
		if strings.HasPrefix(t.lines.Text(), guestapi.TalkPrefix) {
			if err := json.Unmarshal(t.lines.Bytes(), &l); err != nil {
				t.Fatal(err)
			}
			taken = append(taken, *l.Taken)
		} else if err := json.Unmarshal(t.lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == cellhold.EventCellDone && e.Cell == done {
			end = &e
		}
	}
	return taken, end
}

func TestCellsAreAcceptedOnTheConnectionOfTheEvents(t *testing.T) {
	c := withKernel(t, fake.Options{}).talk()
	c.submit(guestapi.Execute{Cell: "t1", Code: "set x 1"})
	taken, _ := c.receive(1, "t1")
	c.submit(guestapi.Execute{Cell: "t1", Code: "set x 2"})
	c.submit(guestapi.Execute{Cell: "t2", Code: "print " + strings.Repeat("long ", 10_000)})
	more, end := c.receive(2, "t2")
	taken = append(taken, more...)
	if taken[0].Status != http.StatusAccepted || taken[1].Status != http.StatusOK || taken[2].Status != http.StatusAccepted || end == nil {
		t.Errorf("answers %+v, want t1 accepted, t1 accepted before, t2 accepted", taken)
	}
	c.wantText(c.run("get x"), `"1"`)
}

func TestARefusedCellIsAnsweredAtOnce(t *testing.T) {
	c := withKernel(t, fake.Options{}).talk()
	c.submit(guestapi.Execute{Cell: "t1", Code: "loop"})
	c.submit(guestapi.Execute{Cell: "t2", Code: "print x"})
	c.submit(guestapi.Execute{Cell: "no id", Code: "print x"})
	taken, _ := c.receive(3, "")
	if taken[1].Status != http.StatusConflict || !strings.Contains(taken[1].Error, "busy with cell t1") || taken[2].Status != http.StatusBadRequest {
		t.Errorf("answers %+v, want t2 refused for a busy kernel, and an invalid id", taken)
	}
}

func TestAnInvalidLineEndsTheConnection(t *testing.T) {
	c := withKernel(t, fake.Options{}).talk()
	if _, err := io.WriteString(c.conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for c.lines.Scan() {
	}
	c.wantStatus(c.run("print still here"), cellhold.StatusOK)
}
