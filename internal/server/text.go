package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/server/exchange"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type textInput struct {
	SessionPath
	Cell   cellhold.CellID `path:"cell" doc:"Cell id." example:"cq7h2w9d4kx5n3vtb"`
	Stream string          `query:"stream" enum:"stdout,stderr" default:"stdout" doc:"Stream to read."`
	Offset int64           `query:"offset" minimum:"0" doc:"Number of bytes to skip at the beginning." example:"0"`
	Limit  int64           `query:"limit" minimum:"0" doc:"Maximum number of bytes. Absent or 0 means all." example:"65536"`
}

func (s *Server) textRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "get-cell-text", Method: http.MethodGet, Path: "/v1/sessions/{id}/cells/{cell}/text", Tags: []string{tagCells},
		Summary:     "Read the full text that a cell printed",
		Description: "Returns the text of one stream up to now, with all updates of progress bars. The server records 256 MiB for each cell; output_dropped events report the rest. Range requests work.",
		Responses:   downloadAnswer("The text", "text/plain"),
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
		// Each of several ranges would read from the beginning, and a header can have thousands of ranges.
		if strings.Contains(r.Header.Get("Range"), ",") {
			r.Header.Del("Range")
		}
		from := min(in.Offset, text.Size())
		size := text.Size() - from
		if in.Limit > 0 {
			size = min(size, in.Limit)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		defer exchange.Steady(w)() // a large event takes memory of the server's budget
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(readerAt{text}, from, size))
	}}, nil
}

// readerAt makes a ReaderAt of a ReadSeeker. Only one goroutine can use it.
type readerAt struct{ io.ReadSeeker }

// ReadAt reads from an offset. A Seek to the present offset keeps the reading in progress, so a read that continues
// the previous one is cheap.
func (r readerAt) ReadAt(p []byte, at int64) (int, error) {
	if _, err := r.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	return io.ReadFull(r, p)
}
