package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/notebook/export"
)

// notes keeps the session's notebook file current. Writing happens beside the cells, not in their
// way: several changes in short order are one write, and whoever needs the file waits for it.
type notes struct {
	s    *Session
	kick chan struct{} // capacity 1

	file sync.Mutex // one writer of the file at a time; taken before mu

	mu     sync.Mutex
	wanted int64 // changes so far
	have   int64 // changes that the file shows
}

func newNotes(s *Session) *notes {
	return &notes{s: s, kick: make(chan struct{}, 1)}
}

// want asks for the file to be written, soon.
func (n *notes) want() {
	n.mu.Lock()
	n.wanted++
	n.mu.Unlock()
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// A write costs as much as the whole notebook, so a session of many short cells would spend its time
// on writing. After each write the next one waits restShare times as long as the last took, which
// bounds the cost to a fiftieth of one core, but never longer than maxRest.
const (
	restShare = 50
	maxRest   = 5 * time.Second
)

// run writes when asked until the context ends.
func (n *notes) run(ctx context.Context) {
	for {
		select {
		case <-n.kick:
			begun := time.Now()
			if err := n.flush(ctx); err != nil && ctx.Err() == nil {
				n.s.slog.Error("writing the notebook", "err", err)
			}
			rest := time.NewTimer(min(restShare*time.Since(begun), maxRest))
			select {
			case <-rest.C:
			case <-ctx.Done():
				rest.Stop()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// write writes the file now.
func (n *notes) write(ctx context.Context) error {
	n.file.Lock()
	defer n.file.Unlock()
	n.mu.Lock()
	upTo := n.wanted
	n.mu.Unlock()
	err := notebook.WriteFile(n.s.NotebookPath(), notebook.FileOptions{}, n.s.meta(), n.s.firstCells(ctx))
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.have = max(n.have, upTo)
	}
	return err
}

// flush returns when the file shows everything up to now.
func (n *notes) flush(ctx context.Context) error {
	n.mu.Lock()
	current := n.have >= n.wanted
	n.mu.Unlock()
	if current {
		return nil
	}
	return n.write(ctx)
}

// FlushNotebook returns when the notebook on disk shows all cells that are done.
func (s *Session) FlushNotebook(ctx context.Context) error { return s.notes.flush(ctx) }

// WriteNotebook writes the notebook as it is now.
func (s *Session) WriteNotebook(ctx context.Context, w io.Writer) error {
	return notebook.Write(w, s.meta(), s.firstCells(ctx))
}

// WritePython and WriteHTML write it as a Python file and as a page.
func (s *Session) WritePython(ctx context.Context, w io.Writer) error {
	return export.Python(w, s.firstCells(ctx))
}

// WriteHTML is described with WritePython.
func (s *Session) WriteHTML(ctx context.Context, w io.Writer) error {
	return export.HTML(w, "Session "+string(s.id), s.firstCells(ctx))
}

// Language is what the session's first kernel speaks; empty when it never said.
func (s *Session) Language() string { return s.meta().Kernel.Language }

// firstCells are the cells of the notebook: those of the first kernel, because a notebook has one
// language, and could not be run again with cells of others in it.
func (s *Session) firstCells(ctx context.Context) iter.Seq2[cellhold.Cell, error] {
	first := s.record().Kernels[0].ID
	return func(yield func(cellhold.Cell, error) bool) {
		for c, err := range s.Cells(ctx) {
			if err == nil && c.Kernel != first {
				continue
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// meta is what the notebook says of its kernel.
func (s *Session) meta() notebook.Meta {
	if k := s.kernel(""); k != nil {
		if info := k.Info(); info != nil {
			return notebook.Meta{Kernel: *info}
		}
	}
	return notebook.Meta{}
}

// NotebookPath is where the session's notebook is on the host.
func (s *Session) NotebookPath() string {
	r := s.record()
	return filepath.Join(s.m.o.notebookDir(), fileLabel(r)+string(r.ID)+".ipynb")
}

// outputDir is where the user's output files are kept on the host: shared by the sessions of one
// user label, private to the session where there is none.
func (o *Options) outputDir(r cellhold.Session) string {
	if r.User == "" {
		return filepath.Join(o.outputRoot(), string(r.ID))
	}
	sum := sha256.Sum256([]byte(r.Owner + "\x00" + r.User))
	return filepath.Join(o.outputRoot(), fileLabel(r)+hex.EncodeToString(sum[:8]))
}

// fileLabel makes of the user's label what is safe in a file name on every system, for people to
// recognise it by. It need not be unique, and is empty when nothing is left.
func fileLabel(r cellhold.Session) string {
	keep := func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' {
			return c
		}
		return -1
	}
	label := strings.Map(keep, r.User)
	if label == "" {
		return ""
	}
	return label[:min(len(label), 40)] + "-"
}
