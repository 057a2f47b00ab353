package server

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/store"
)

// restartable returns a function that starts a server on the same home, the same sandboxes and the same database.
func restartable(t *testing.T) (start func(t *testing.T) *harness, dir string) {
	t.Helper()
	dir = t.TempDir()
	world, err := fake.NewWorld(context.Background(), fake.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { world.Close() })
	return func(t *testing.T) *harness {
		t.Helper()
		db, err := store.Open(t.Context(), store.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() }) // after the cleanup of the registry
		return newHarnessWith(t, func(o *registry.Options) {
			o.Store, o.Driver = db, world.Open()
			o.Home, o.Ephemeral = dir, false
		}, nil)
	}, dir
}

// flip changes one bit in the middle of a value of the database. which ends a query that selects one row.
func flip(t *testing.T, dir, table, column, which string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "cellhold.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var row int64
	var value []byte
	if err := db.QueryRow(`SELECT rowid, `+column+` FROM `+table+` `+which).Scan(&row, &value); err != nil {
		t.Fatalf("%s: %v", table, err)
	}
	value[len(value)/2] ^= 1
	if _, err := db.Exec(`UPDATE `+table+` SET `+column+` = ? WHERE rowid = ?`, value, row); err != nil {
		t.Fatal(err)
	}
}

// addAttempts records three connection attempts of a session.
func addAttempts(t *testing.T, dir string, id cellhold.SessionID) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	last, _, err := db.Tail(t.Context(), id)
	for _, name := range []string{"one", "two", "three"} {
		ev := record.NewEvent(cellhold.EventEgress, "", "", cellhold.EgressAttempt{ID: name, Host: name + ".example", Decision: cellhold.EgressRefused})
		last++
		if ev.Seq = last; err == nil {
			err = db.Append(t.Context(), id, []record.Event{ev})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestADamagedRecordIsReportedInItsPlaceAndTheOthersAreServed(t *testing.T) {
	start, dir := restartable(t)
	var session, broken string
	t.Run("before the damage", func(t *testing.T) {
		h := start(t)
		session, broken = h.create(), h.create()
		for _, word := range []string{"one", "two", "three"} {
			h.run(session, "print "+word)
			h.do(200, "POST", session+"/commands?wait=30s", `{"command": "echo `+word+`"}`)
		}
	})
	addAttempts(t, dir, cellhold.SessionID(filepath.Base(session)))
	first := `WHERE session = (SELECT min(key) FROM sessions) ORDER BY id LIMIT 1 OFFSET 1`
	flip(t, dir, "sessions", "record", `ORDER BY key LIMIT 1 OFFSET 1`)
	flip(t, dir, "cells", "record", first)
	flip(t, dir, "commands", "record", first)
	flip(t, dir, "events", "content", `WHERE type = 'egress' ORDER BY id LIMIT 1 OFFSET 1`)
	flip(t, dir, "events", "content", `WHERE type = 'command_done' ORDER BY id DESC LIMIT 1`)
	t.Run("after the damage", func(t *testing.T) {
		h := start(t)
		h.wantMarkedCell(session)
		h.wantMarkedCommand(session)
		h.wantMarkedEvents(session)
		for _, format := range []string{"ipynb", "html"} {
			page := string(h.do(200, "GET", session+"/notebook?format="+format, "").body)
			if strings.Count(page, "The record of this cell is damaged") != 1 || !strings.Contains(page, "print one") || !strings.Contains(page, "print three") {
				t.Errorf("%s: got %s", format, page)
			}
		}
		if body := h.do(500, "GET", broken, "").body; !strings.Contains(string(body), `"kind":"internal"`) {
			t.Errorf("the session with the damaged record: %s", body)
		}
		h.do(404, "GET", "/v1/sessions/sabsentabsentabse", "")
		if list := string(h.do(200, "GET", "/v1/sessions", "").body); !strings.Contains(list, filepath.Base(session)) {
			t.Errorf("the other session is missing: %s", list)
		}
		if cell := h.run(h.create(), "print new"); cell.Status != cellhold.StatusOK {
			t.Errorf("a new session: %+v", cell)
		}
	})
}

func (h *harness) wantMarkedCell(session string) {
	h.t.Helper()
	var list CellList
	h.do(200, "GET", session+"/cells", "").decode(h.t, &list)
	if len(list.Cells) != 3 || list.Cells[0].Code != "print one" || list.Cells[2].Code != "print three" {
		h.t.Fatalf("got the cells %+v", list.Cells)
	}
	marked := list.Cells[1]
	var again cellhold.Cell
	h.do(200, "GET", session+"/cells/"+string(marked.ID)+"?wait=1s", "").decode(h.t, &again)
	for _, c := range []cellhold.Cell{marked, again} {
		if c.ID == "" || c.State != cellhold.CellDone || c.Status != cellhold.StatusLost || !strings.Contains(c.Cause, "damaged") || c.Outputs == nil {
			h.t.Errorf("got %+v, want a mark", c)
		}
	}
	text := string(h.do(200, "GET", session+"/cells/"+string(marked.ID)+"/text", "").body)
	if text != "two\n" {
		h.t.Errorf("got the text %q, want that of the events", text)
	}
	h.do(409, "POST", session+"/cells/"+string(marked.ID)+"/cancel", "")
}

func (h *harness) wantMarkedCommand(session string) {
	h.t.Helper()
	var list CommandList
	h.do(200, "GET", session+"/commands", "").decode(h.t, &list)
	if len(list.Commands) != 3 || list.Commands[0].Line != "echo one" || list.Commands[2].Line != "echo three" {
		h.t.Fatalf("got the commands %+v", list.Commands)
	}
	for i, wantEnd := range []bool{true, true, false} { // the last event of the third command is damaged
		path := session + "/commands/" + string(list.Commands[i].ID)
		if c := decodeCommand(h.t.(*testing.T), h.do(200, "GET", path, "").body); i == 1 && (c.Status != cellhold.CommandLost || !strings.Contains(c.Cause, "damaged")) {
			h.t.Errorf("got %+v, want a mark", c)
		}
		if stream := string(h.do(200, "GET", path+"/events?stream=sse", "").body); strings.Contains(stream, "command_done") != wantEnd {
			h.t.Errorf("command %d: got the events %s", i+1, stream)
		}
	}
}

func (h *harness) wantMarkedEvents(session string) {
	h.t.Helper()
	var page EventPage
	h.do(200, "GET", session+"/events?limit=5000", "").decode(h.t, &page)
	damaged := 0
	for i, e := range page.Events {
		if e.Seq != int64(i+1) {
			h.t.Fatalf("event %d has the number %d", i+1, e.Seq)
		}
		if e.Type == cellhold.EventRecordDamaged {
			damaged++
		}
	}
	if damaged != 2 {
		h.t.Errorf("got %d damaged events, want 2", damaged)
	}
	var egress struct {
		Attempts []cellhold.EgressAttempt `json:"attempts"`
	}
	a := h.do(http.StatusOK, "GET", session+"/egress", "")
	if err := json.Unmarshal(a.body, &egress); err != nil || len(egress.Attempts) != 3 || egress.Attempts[0].ID != "one" || egress.Attempts[2].ID != "three" || !strings.Contains(egress.Attempts[1].Reason, "damaged") {
		h.t.Errorf("got the attempts %s", a.body)
	}
}
