package server

import (
	"context"
	"io"
	"net/http"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/server/download"
	"cellhold/internal/server/exchange"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const notebookType = "application/x-ipynb+json"

type notebookInput struct {
	SessionPath
	KernelQuery
	Format string `query:"format" enum:"ipynb,py,html" default:"ipynb" doc:"ipynb: the notebook. py: a Python script in the percent format. html: one self-contained page without scripts."`
}

type importInput struct {
	SessionPath
	Run     bool   `query:"run" doc:"If true, submit the code cells in order. Otherwise no code runs."`
	RawBody []byte `contentType:"application/x-ipynb+json" doc:"Notebook file in nbformat 4, at most 8 MiB."`
}

// ImportedNotebook is the body that lists the cells of an imported notebook.
type ImportedNotebook struct {
	Cells []cellhold.CellID `json:"cells" doc:"Ids of the new cells, in order."`
}

type importOutput struct {
	Body ImportedNotebook
}

func (s *Server) notebookRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "get-notebook", Method: http.MethodGet, Path: "/v1/sessions/{id}/notebook", Tags: []string{tagFiles},
		Summary:     "Download the notebook",
		Description: "Returns the session as a Jupyter notebook (nbformat 4.5), a Python script or an HTML page. It has all cells of one kernel and their outputs so far.",
		Responses:   notebookFormats(),
	}, s.notebook)
	register(api, huma.Operation{
		OperationID: "import-notebook", Method: http.MethodPost, Path: "/v1/sessions/{id}/notebook", DefaultStatus: http.StatusCreated, Tags: []string{tagFiles},
		Summary:     "Import a notebook",
		Description: "Adds the cells of a notebook with their outputs to the session. The session must have no cells yet, and a kernel for the notebook's language.",
	}, s.importNotebook)
}

func notebookFormats() map[string]*huma.Response {
	content := map[string]*huma.MediaType{}
	for _, mediaType := range []string{notebookType, "text/x-python", "text/html"} {
		content[mediaType] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Format: "binary"}}
	}
	return map[string]*huma.Response{"200": {Description: "The notebook", Content: content}}
}

func (s *Server) notebook(ctx context.Context, in *notebookInput) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	book, err := sess.History().Notebook(in.Kernel)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	write, mediaType := book.Write, notebookType
	switch in.Format {
	case "py":
		if l := book.Language(); l != "" && l != "python" {
			return nil, s.problem(ctx, cellhold.Errorf(cellhold.Unsupported, "Format py is not possible: the notebook's language is %.40q. Use ipynb or html.", l))
		}
		write, mediaType = book.WritePython, "text/x-python; charset=utf-8"
	case "html":
		write, mediaType = book.WriteHTML, "text/html; charset=utf-8"
	}
	return &streamOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		defer exchange.Steady(w)()
		late := &lateHeader{w: w, set: func(h http.Header) {
			h.Set("Content-Type", mediaType)
			h.Set("Content-Disposition", download.Disposition(string(sess.Info().ID)+"."+in.Format))
			// A browser must not show outputs of untrusted code as a page of this server.
			h.Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:")
		}}
		if err := write(r.Context(), late); err != nil {
			s.failStream(w, r, err, late.set != nil)
		}
	}}, nil
}

// lateHeader sets headers with the first byte, so that an error before it can still be reported.
type lateHeader struct {
	w   io.Writer
	set func(http.Header) // nil once the headers are set
}

func (l *lateHeader) Write(p []byte) (int, error) {
	if l.set != nil {
		l.set(l.w.(http.ResponseWriter).Header())
		l.set = nil
	}
	return l.w.Write(p)
}

func (s *Server) importNotebook(ctx context.Context, in *importInput) (*importOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	n, err := notebook.Read(in.RawBody)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	ids, err := sess.Import(acting, n, in.Run)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &importOutput{Body: ImportedNotebook{Cells: ids}}, nil
}
