package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/guestapi/boundstest"
)

// sendMessage defines a function that sends any message to the kernel's clients.
const sendMessage = `
import json
kept = 42
def send(kind, content):
    k = get_ipython().kernel
    k.session.send(k.iopub_socket, kind, json.loads(content), parent=get_ipython().parent_header)
`

// outputs returns the contents of a cell's output events.
func (s *server) outputs(t *testing.T, c cellhold.Cell) (contents [][]byte) {
	t.Helper()
	for ev, err := range s.Watch(t.Context(), c.Session, c.First) {
		switch {
		case err != nil:
			t.Fatal(err)
		case ev.Cell == c.ID && ev.Type == cellhold.EventCellDone:
			return contents
		case ev.Cell == c.ID && ev.Type != cellhold.EventCellStarted:
			contents = append(contents, ev.Content)
		}
	}
	t.Fatal("the events have no end of the cell")
	return nil
}

// TestAnOutputAboveABoundIsLeftOutAndItsCellEnds sends outputs at and above each bound from a real kernel.
func TestAnOutputAboveABoundIsLeftOutAndItsCellEnds(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, sendMessage)
	boundstest.Run(t, func(t *testing.T, c boundstest.Case, size int, kept bool) {
		if size < c.Limit {
			return // the agent's own tests have this case
		}
		cell := s.run(t, id, fmt.Sprintf("send(%q, r'''%s''')", c.Type, c.Content(size)), 20*time.Second)
		outputs := s.outputs(t, cell)
		if cell.Status != cellhold.StatusOK || len(outputs) == 0 {
			t.Fatalf("an output of size %d: the cell ended with %s (%s) and %d outputs", size, cell.Status, cell.Cause, len(outputs))
		}
		for _, content := range outputs {
			if got := c.Size(content); kept && (got != size || len(outputs) > 1) || got > c.Limit {
				t.Errorf("an output of size %d has size %d, the limit is %d", size, got, c.Limit)
			}
		}
	})
	for code, want := range map[string]string{
		`send("display_data", json.dumps({"data": {"application/json": list(range(100_000))}, "metadata": {"a": [0] * 30_000}}))`:                "",
		`send("error", json.dumps({"ename": "E", "evalue": "v", "traceback": ["line"] * 25_000}))`:                                               "lines of the traceback left out",
		`send("display_data", json.dumps({"data": {"text/html": "<b>" * 6_000_000}, "metadata": {}}))`:                                           "bytes was left out",
		`send("display_data", '{"data": {"application/json": ' + "[" * 200 + "1," * 25_000 + "1" + "]" * 200 + '}, "metadata": {}}')`:            "…",
		`send("update_display_data", json.dumps({"data": {"a/b": 1}, "metadata": {}, "transient": {"display_id": "x" * 10_000}})); print("end")`: "end",
	} {
		cell := s.run(t, id, code, 20*time.Second)
		all, err := json.Marshal(cell.Outputs)
		if err != nil || cell.Status != cellhold.StatusOK || len(cell.Outputs) != 1 || !strings.Contains(string(all), want) {
			t.Errorf("%s: ended with %s (%s) and %d outputs: %.300s", code, cell.Status, cell.Cause, len(cell.Outputs), all)
		}
	}
	if got := s.must(t, id, "print(kept)"); got != "42\n" {
		t.Errorf("the session lost its variables: %q", got)
	}
}
