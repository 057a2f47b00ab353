package history

import (
	"context"
	"io"
	"iter"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/notebook/export"
)

// Notebook is the notebook of one kernel. A notebook has one language, so it has no cells of other kernels.
type Notebook struct {
	h      *History
	kernel cellhold.KernelID
}

// Notebook returns the notebook of a kernel. An empty id means the first kernel. An unknown kernel is a
// NotFound error.
func (h *History) Notebook(id cellhold.KernelID) (Notebook, error) {
	for i, k := range h.o.Record().Kernels {
		if k.ID == id || i == 0 && id == "" {
			return Notebook{h, k.ID}, nil
		}
	}
	return Notebook{}, cellhold.Errorf(cellhold.NotFound, "Kernel %.40q not found in this session.", id)
}

// Write writes the notebook as it is now.
func (n Notebook) Write(ctx context.Context, w io.Writer) error {
	return notebook.Write(w, n.meta(), n.cells(ctx))
}

// WriteFile writes the notebook to a file on the host.
func (n Notebook) WriteFile(ctx context.Context, path string) error {
	return notebook.WriteFile(path, notebook.FileOptions{}, n.meta(), n.cells(ctx))
}

// WritePython writes the notebook as a Python script.
func (n Notebook) WritePython(ctx context.Context, w io.Writer) error {
	return export.Python(w, n.cells(ctx))
}

// WriteHTML writes the notebook as an HTML page.
func (n Notebook) WriteHTML(ctx context.Context, w io.Writer) error {
	return export.HTML(w, "Session "+string(n.h.o.Session), n.cells(ctx))
}

// Language returns the language of the kernel. It is empty if the kernel never reported it.
func (n Notebook) Language() string { return n.meta().Kernel.Language }

// cells yields the cells of the kernel, without those that a rollback undid. A damaged cell can belong to any kernel.
func (n Notebook) cells(ctx context.Context) iter.Seq2[cellhold.Cell, error] {
	return func(yield func(cellhold.Cell, error) bool) {
		for c, err := range n.h.Cells(ctx) {
			switch {
			case err != nil:
			case c.Kernel == "":
				c = damagedNote(c)
			case c.Kernel != n.kernel || c.Undone:
				continue
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// meta returns the description of the kernel.
func (n Notebook) meta() notebook.Meta {
	if info := n.h.o.Followers().KernelInfo(n.kernel); info != nil {
		return notebook.Meta{Kernel: *info}
	}
	return notebook.Meta{}
}
