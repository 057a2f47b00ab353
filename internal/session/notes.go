package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"path/filepath"
	"strings"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/notebook/export"
)

// writeNotebook writes the file of the first kernel's notebook.
func (s *Session) writeNotebook(ctx context.Context) error {
	return notebook.WriteFile(s.NotebookPath(), notebook.FileOptions{}, s.book("").meta(), s.book("").cells(ctx))
}

// FlushNotebook returns when the notebook on disk shows all cells that are done.
func (s *Session) FlushNotebook(ctx context.Context) error { return s.notes.Flush(ctx) }

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
			if err == nil && (c.Kernel != b.kernel || c.Undone) {
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
