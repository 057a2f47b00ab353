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
	err := notebook.WriteFile(n.s.NotebookPath(), notebook.FileOptions{}, n.s.book("").meta(), n.s.book("").cells(ctx))
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

// Book is the notebook of one kernel: a notebook has one language, and could not be run again with the
// cells of other kernels in it. The file on disk is that of the first kernel.
type Book struct {
	s      *Session
	kernel cellhold.KernelID
}

// Book returns the notebook of a kernel, the first one when id is empty.
func (s *Session) Book(id cellhold.KernelID) (Book, error) {
	b := s.book(id)
	for _, k := range s.record().Kernels {
		if k.ID == b.kernel {
			return b, nil
		}
	}
	return Book{}, cellhold.Errorf(cellhold.NotFound, "The session has no kernel %.40q.", id)
}

func (s *Session) book(id cellhold.KernelID) Book {
	if id == "" {
		id = s.record().Kernels[0].ID
	}
	return Book{s: s, kernel: id}
}

// Write writes the notebook as it is now.
func (b Book) Write(ctx context.Context, w io.Writer) error {
	return notebook.Write(w, b.meta(), b.cells(ctx))
}

// WritePython writes it as a Python file.
func (b Book) WritePython(ctx context.Context, w io.Writer) error {
	return export.Python(w, b.cells(ctx))
}

// WriteHTML writes it as a page.
func (b Book) WriteHTML(ctx context.Context, w io.Writer) error {
	return export.HTML(w, "Session "+string(b.s.id), b.cells(ctx))
}

// Language is what the kernel speaks; empty when it never said.
func (b Book) Language() string { return b.meta().Kernel.Language }

func (b Book) cells(ctx context.Context) iter.Seq2[cellhold.Cell, error] {
	return func(yield func(cellhold.Cell, error) bool) {
		for c, err := range b.s.Cells(ctx) {
			if err == nil && c.Kernel != b.kernel {
				continue
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// meta is what the notebook says of its kernel.
func (b Book) meta() notebook.Meta {
	if k := b.s.kernel(b.kernel); k != nil {
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
