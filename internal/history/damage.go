package history

import (
	"fmt"

	"cellhold"
)

// Each of the functions below returns the entry that takes the place of a damaged record. So one damaged record does not
// hide the others. They log the error for the operator.

// damagedCell has no kernel, because the kernel is not known.
func (h *History) damagedCell(id cellhold.CellID, err error) cellhold.Cell {
	h.log(err)
	return cellhold.Cell{ID: id, Session: h.o.Session, State: cellhold.CellDone, Status: cellhold.StatusLost, Outputs: []cellhold.Output{},
		Cause: "The record of this cell is damaged on the server's disk. The events of the session can still have its output."}
}

func (h *History) damagedCommand(id cellhold.CommandID, err error) cellhold.Command {
	h.log(err)
	return cellhold.Command{ID: id, Session: h.o.Session, State: cellhold.CommandDone, Status: cellhold.CommandLost,
		Cause: "The record of this command is damaged on the server's disk. The events of the session can still have its output."}
}

func (h *History) damagedAttempt(seq int64, err error) cellhold.EgressAttempt {
	h.log(err)
	return cellhold.EgressAttempt{ID: fmt.Sprintf("damaged-%d", seq), Decision: cellhold.EgressFailed,
		Reason: "The record of this attempt is damaged on the server's disk. Its host and its result are not known."}
}

func (h *History) log(err error) {
	h.o.Logger.Error("a record is damaged; a backup of the home can have it", "err", err)
}

// damagedNote is what a notebook shows in the place of a damaged cell: a text in every format.
func damagedNote(c cellhold.Cell) cellhold.Cell {
	c.Type, c.Code = cellhold.CellMarkdown, c.Cause
	return c
}
