package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"cellhold"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type textInput struct {
	SessionPath
	Cell   cellhold.CellID `path:"cell" doc:"Identifies the cell." example:"cq7h2w9d4kx5n3vtb"`
	Stream string          `query:"stream" enum:"stdout,stderr" default:"stdout" doc:"Which of the two streams."`
	Offset int64           `query:"offset" minimum:"0" doc:"Bytes to leave out at the beginning." example:"0"`
	Limit  int64           `query:"limit" minimum:"0" doc:"The most bytes to give; all when absent or 0." example:"65536"`
}

func (s *Server) textRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "get-cell-text", Method: http.MethodGet, Path: "/v1/sessions/{id}/cells/{cell}/text", Tags: []string{tagCells},
		Summary:     "Read all that a cell printed",
		Description: "The text of one stream as it was printed, with progress not folded, up to now. It is whole as far as it was recorded, which is 256 MiB of a cell; output_dropped events tell what was not. Ranges work.",
		Responses:   download("The text", "text/plain"),
	}, s.cellText)
}

func (s *Server) cellText(ctx context.Context, in *textInput) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	text, err := sess.History().Text(ctx, in.Cell, in.Stream)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		defer text.Close()
		r, w := humago.Unwrap(hc)
		// Each of several ranges would read from the beginning, and thousands fit into a header.
		if strings.Contains(r.Header.Get("Range"), ",") {
			r.Header.Del("Range")
		}
		from := min(in.Offset, text.Size())
		size := text.Size() - from
		if in.Limit > 0 {
			size = min(size, in.Limit)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(readerAt{text}, from, size))
	}}, nil
}

// readerAt lets a section be cut out of what can only seek. One reader uses it.
type readerAt struct{ io.ReadSeeker }

// ReadAt reads from that place; going on from the last one costs nothing.
func (r readerAt) ReadAt(p []byte, at int64) (int, error) {
	if _, err := r.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	return io.ReadFull(r, p)
}
