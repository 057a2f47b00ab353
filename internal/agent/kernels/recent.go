package kernels

import (
	"maps"
	"slices"

	"cellhold"
)

const (
	// maxCells is the number of cell ids that are remembered. A host repeats a request within seconds, or
	// after a restart for the one cell that was running.
	maxCells = 1024
	// maxMessages is the number of ended cells that can still have output from threads that they started.
	maxMessages = 256
)

// recentCells remembers the newest cells and the messages that ran them.
type recentCells struct {
	cells    map[cellhold.CellID]struct{}
	order    []cellhold.CellID // oldest first
	messages map[string]cellhold.CellID
	sent     []string // oldest first
}

func (r *recentCells) has(id cellhold.CellID) bool {
	_, ok := r.cells[id]
	return ok
}

func (r *recentCells) byMessage(msgID string) (cellhold.CellID, bool) {
	id, ok := r.messages[msgID]
	return id, ok
}

func (r *recentCells) add(id cellhold.CellID, msgID string) {
	if r.cells == nil {
		r.cells = make(map[cellhold.CellID]struct{})
	}
	r.cells[id] = struct{}{}
	r.order = append(r.order, id)
	r.remember(id, msgID)
	if len(r.order) > maxCells {
		delete(r.cells, r.order[0])
		r.order = r.order[1:]
	}
}

// addQuiet remembers a message that ran code of the agent, so that its output is dropped.
func (r *recentCells) addQuiet(msgID string) { r.remember("", msgID) }

// remember records the cell that a message ran.
func (r *recentCells) remember(id cellhold.CellID, msgID string) {
	if r.messages == nil {
		r.messages = make(map[string]cellhold.CellID)
	}
	r.messages[msgID] = id
	r.sent = append(r.sent, msgID)
	if len(r.sent) > maxMessages {
		delete(r.messages, r.sent[0])
		r.sent = r.sent[1:]
	}
}

// forCopy returns the state for a copy of the sandbox, whose host has cells of its own. Threads of earlier
// cells continue there, and their output belongs to the history that the copy inherits.
func (r *recentCells) forCopy() recentCells {
	return recentCells{messages: maps.Clone(r.messages), sent: slices.Clone(r.sent)}
}

// clone returns a copy that shares no memory.
func (r *recentCells) clone() recentCells {
	c := r.forCopy()
	c.cells, c.order = maps.Clone(r.cells), slices.Clone(r.order)
	return c
}

// forgetMessages is called when the process has ended: no answer can come any more.
func (r *recentCells) forgetMessages() {
	r.messages, r.sent = nil, nil
}
