package session

import (
	"context"
	"os"

	"cellhold/internal/guestapi"
	"cellhold/internal/session/paths"
)

// HostFiles gives access to the files of a session on the host: its notebook, and its output files as they
// were after the last cell.
type HostFiles struct{ s *Session }

// HostFiles returns the files of the session on the host.
func (s *Session) HostFiles() HostFiles { return HostFiles{s} }

// writeNotebook writes the file of the first kernel's notebook.
func (h HostFiles) writeNotebook(ctx context.Context) error {
	n, err := h.s.history.Notebook("")
	if err != nil {
		return err
	}
	return n.WriteFile(ctx, h.NotebookPath())
}

// FlushNotebook returns when the notebook on disk has all cells that are done.
func (h HostFiles) FlushNotebook(ctx context.Context) error { return h.s.notes.Flush(ctx) }

// NotebookPath returns the path of the session's notebook.
func (h HostFiles) NotebookPath() string {
	return paths.Notebook(h.s.env.Notebooks, h.s.Record())
}

// Outputs returns the output files.
func (h HostFiles) Outputs() ([]guestapi.File, error) { return h.s.mirror.Files() }

// OpenOutput opens an output file by its listed path. The caller must close it.
func (h HostFiles) OpenOutput(name string) (*os.File, error) { return h.s.mirror.Open(name) }
