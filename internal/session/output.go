package session

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"cellhold"
	"cellhold/internal/guest"
)

// File is one output file of a session on the host.
type File struct {
	Path     string    `json:"path" doc:"Path below /mnt/data/output." example:"report/summary.csv"`
	Size     int64     `json:"size" doc:"Bytes."`
	Modified time.Time `json:"modified" doc:"When it was last written."`
}

// Files lists the session's output files as they were after the last cell.
func (s *Session) Files() ([]File, error) {
	found, err := s.mirror.Files()
	if err != nil {
		return nil, err
	}
	files := make([]File, 0, len(found))
	for _, f := range found {
		files = append(files, File(f))
	}
	return files, nil
}

// OpenFile opens one output file by its listed path.
func (s *Session) OpenFile(name string) (*os.File, error) {
	f, err := s.mirror.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cellhold.Errorf(cellhold.NotFound, "The session has no output file of that name.")
	}
	return f, err
}

// pull copies what the guest has written, if there is a guest.
func (s *Session) pull(ctx context.Context, c *guest.Client) error {
	if c == nil {
		return nil
	}
	return s.mirror.Pull(ctx, c)
}

// recognise finds out which of the guest's files an earlier server has copied already. Of a quiet session,
// where nobody else writes to the folder, it also copies the rest: the server may have died between a rollback
// or a fork and the copying of its files.
func (s *Session) recognise(ctx context.Context, quiet bool) error {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	s.recognised = true
	if err := s.mirror.Recognise(ctx, s.client()); err != nil || !quiet || s.record().User != "" {
		return err
	}
	if err := s.mirror.Restore(ctx, s.client(), true); err != nil {
		s.slog.Warn("mirroring output files", "err", err)
	}
	return nil
}
