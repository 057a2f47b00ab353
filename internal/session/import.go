package session

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/record"
)

// maxImport is the maximum number of code cells of a notebook that run: as many as can be queued.
const maxImport = 1000

// Import adds the cells of a notebook to a session without cells, and returns their ids. With run it submits
// the code cells in order, without their old outputs. If the session has cells, the error is a Conflict.
func (s *Session) Import(ctx context.Context, n notebook.Notebook, run bool) ([]cellhold.CellID, error) {
	turn, err := s.acquireReady(ctx, false)
	if err != nil {
		return nil, err
	}
	defer turn.Release()
	k, err := s.sandboxes.following().Kernel("")
	if err != nil {
		return nil, err
	}
	if err := n.CheckLanguage(k.State().Language); err != nil {
		return nil, err
	}
	for _, err := range s.history.Cells(ctx) {
		if err != nil {
			return nil, err
		}
		return nil, cellhold.Errorf(cellhold.Conflict, "The session has cells already. Import the notebook into a new session.")
	}
	code := 0
	for i := range n.Cells {
		c := &n.Cells[i]
		c.Session, c.Kernel, c.Submitted = s.id, k.State().ID, time.Now().UTC()
		if notebook.HasCode(*c) {
			code++
		}
	}
	if run && code > maxImport {
		return nil, cellhold.Errorf(cellhold.Exhausted, "The notebook has %d code cells; at most %d can be queued. Import it without run, and submit the cells in parts.", code, maxImport)
	}
	return importCells(ctx, s, n.Cells, run)
}

// importCells records the cells in order. With run, it submits the cells that have code.
func importCells(ctx context.Context, s *Session, cells []cellhold.Cell, run bool) ([]cellhold.CellID, error) {
	defer s.notes.Changed()
	defer s.use()
	ids := make([]cellhold.CellID, 0, len(cells))
	var waiting []*record.Cell
	flush := func() error {
		if len(waiting) == 0 {
			return nil
		}
		err := s.log.Append(ctx, nil, waiting...)
		waiting = nil
		return err
	}
	for i := range cells {
		if !run || !notebook.HasCode(cells[i]) {
			waiting = append(waiting, &record.Cell{Cell: cells[i]})
			ids = append(ids, cells[i].ID)
			continue
		}
		if err := flush(); err != nil {
			return ids, err
		}
		c, err := s.Execute(ctx, ExecuteRequest{Code: cells[i].Code})
		if err != nil {
			return ids, err
		}
		ids = append(ids, c.ID)
	}
	return ids, flush()
}
