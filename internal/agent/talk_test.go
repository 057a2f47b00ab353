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

// talk is the host's end of a connection.
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
	lines := bufio.NewReader(conn)
	resp, err := http.ReadResponse(lines, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		r.Fatalf("%+v, %v", resp, err)
	}
	s := bufio.NewScanner(lines)
	s.Buffer(nil, guestapi.MaxEvent)
	return &talk{r, conn, s}
}

func (t *talk) say(e guestapi.Execute) {
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

// hear reads until the cell is done and all answers are there, and returns the answers and the end.
func (t *talk) hear(answers int, done cellhold.CellID) (taken []guestapi.Taken, end *guestapi.Event) {
	t.Helper()
	for len(taken) < answers || done != "" && end == nil {
		if !t.lines.Scan() {
			t.Fatalf("the connection ended: %v; %+v", t.lines.Err(), taken)
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
	k := withKernel(t, fake.Options{}).talk()
	k.say(guestapi.Execute{Cell: "t1", Code: "set x 1"})
	taken, _ := k.hear(1, "t1")
	k.say(guestapi.Execute{Cell: "t1", Code: "set x 2"})
	k.say(guestapi.Execute{Cell: "t2", Code: "print " + strings.Repeat("long ", 10_000)})
	more, end := k.hear(2, "t2")
	taken = append(taken, more...)
	if taken[0].Status != http.StatusAccepted || taken[1].Status != http.StatusOK || taken[2].Status != http.StatusAccepted || end == nil {
		t.Errorf("%+v", taken)
	}
	k.wantText(k.run("get x"), `"1"`)
}

func TestARefusedCellIsAnsweredAtOnce(t *testing.T) {
	k := withKernel(t, fake.Options{}).talk()
	k.say(guestapi.Execute{Cell: "t1", Code: "loop"})
	k.say(guestapi.Execute{Cell: "t2", Code: "print x"})
	k.say(guestapi.Execute{Cell: "no id", Code: "print x"})
	taken, _ := k.hear(3, "")
	if taken[1].Status != http.StatusConflict || !strings.Contains(taken[1].Error, "busy with cell t1") || taken[2].Status != http.StatusBadRequest {
		t.Errorf("%+v", taken)
	}
}

func TestAnInvalidLineEndsTheConnection(t *testing.T) {
	k := withKernel(t, fake.Options{}).talk()
	if _, err := io.WriteString(k.conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for k.lines.Scan() {
	}
	k.wantStatus(k.run("print still here"), cellhold.StatusOK)
}
