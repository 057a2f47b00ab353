package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"cellhold"
	"cellhold/internal/server/door"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// SubmitCell is the body that submits a cell.
type SubmitCell struct {
	_       struct{}          `additionalProperties:"false" json:"-"`
	Code    string            `json:"code" doc:"The source to run; 4 MiB at most." example:"1 + 1"`
	Kernel  cellhold.KernelID `json:"kernel,omitempty" maxLength:"64" doc:"Which kernel runs it; the session's first one when absent." example:"python3"`
	Timeout float64           `json:"timeout,omitempty" minimum:"0" maximum:"31536000" doc:"Seconds that it may run, once it runs; the server's default when absent or 0." example:"30"`

	OnError    cellhold.OnError  `json:"on_error,omitempty" enum:"continue,cancel" doc:"What becomes of the cells that wait behind it when it does not end with ok: they run, or those that wait at that moment are cancelled. continue when absent."`
	Figures    *cellhold.Figures `json:"figures,omitempty" doc:"How its figures are drawn, by a Python kernel; as the session's when absent."`
	AllowStdin bool              `json:"allow_stdin,omitempty" doc:"Let the code ask for input: an input_request event appears, and answer-input answers it. The deadline goes on meanwhile. Without it, input() fails at once."`
}

type submitInput struct {
	SessionPath
	Wait string `query:"wait" doc:"How long to wait for it to be done: \"30s\", \"2m\" or plain seconds, 10 minutes at most. Without it the answer comes at once." example:"30s"`
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"Your own name for this request. The same key with the same request gives the same cell, also after a restart of the server, so a request whose answer was lost can be repeated; with another request it is a conflict."`
	Body SubmitCell
}

type submitOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the cell is."`
	Body     cellhold.Cell
}

type cellInput struct {
	SessionPath
	Cell cellhold.CellID `path:"cell" doc:"Identifies the cell." example:"cq7h2w9d4kx5n3vtb"`
	Wait string          `query:"wait" doc:"How long to wait for it to be done: \"30s\", \"2m\" or plain seconds, 10 minutes at most. The answer comes earlier when it is done earlier." example:"30s"`
}

type cellOutput struct {
	Status int
	Body   cellhold.Cell
}

// CellList is the body that lists cells.
type CellList struct {
	Cells []cellhold.Cell `json:"cells" doc:"The session's cells, oldest first."`
}

type streamOutput struct {
	Body func(huma.Context)
}

func (s *Server) cellRoutes(api huma.API) {
	cellSchema := schemaOf(api, cellhold.Cell{})
	register(api, huma.Operation{
		OperationID: "submit-cell", Method: http.MethodPost, Path: "/v1/sessions/{id}/cells", DefaultStatus: http.StatusAccepted, Tags: []string{tagCells},
		Summary:     "Run code",
		Description: "Queues a cell. Without wait the answer is 202 with the queued cell. With wait it is 200 with the cell when it is done. When the wait is over before, it is 202 with the cell as it is then, and wait_over is true; the cell goes on running, also when you hang up. Code that raises is no error of this API: the cell has the status \"error\" and the traceback among its outputs.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The cell, which is done",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: cellSchema}},
		}},
	}, s.submit)
	register(api, huma.Operation{
		OperationID: "list-cells", Method: http.MethodGet, Path: "/v1/sessions/{id}/cells", Tags: []string{tagCells},
		Summary: "List the cells of a session",
		Responses: map[string]*huma.Response{"200": {
			Description: "The cells, oldest first, outputs included",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, CellList{})}},
		}},
	}, s.listCells)
	register(api, huma.Operation{
		OperationID: "get-cell", Method: http.MethodGet, Path: "/v1/sessions/{id}/cells/{cell}", Tags: []string{tagCells},
		Summary:     "Look at a cell, or wait for it",
		Description: "With wait, the answer comes when the cell is done or the wait is over. In the second case its status is 202, and wait_over is true.",
		Responses: map[string]*huma.Response{"202": {
			Description: "The cell as it is when the wait is over: it is not done",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: cellSchema}},
		}},
	}, s.getCell)
}

func (s *Server) submit(ctx context.Context, in *submitInput) (*submitOutput, error) {
	if len(in.Body.Code) > door.MaxCode {
		return nil, door.NewProblem(ctx, http.StatusRequestEntityTooLarge, cellhold.Invalid, door.TooLarge)
	}
	wait, err := parseWait(in.Wait)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	cell, err := sess.Execute(ctx, session.ExecuteRequest{
		Kernel: in.Body.Kernel, Code: in.Body.Code, Timeout: seconds(in.Body.Timeout),
		OnError: in.Body.OnError, AllowStdin: in.Body.AllowStdin, Figures: in.Body.Figures, Key: in.Key,
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	status := http.StatusAccepted
	if wait > 0 {
		if cell, err = await(ctx, s, sess, cell.ID, wait, cells); err != nil {
			return nil, s.problem(ctx, err)
		}
		status = waitStatus(cell.State == cellhold.CellDone, &cell.WaitOver)
	}
	location := "/v1/sessions/" + string(in.ID) + "/cells/" + string(cell.ID)
	return &submitOutput{Status: status, Location: location, Body: wholeCell(cell)}, nil
}

func (s *Server) getCell(ctx context.Context, in *cellInput) (*cellOutput, error) {
	cell, err := look(ctx, s, in.SessionPath, in.Wait, in.Cell, cells)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	status := http.StatusOK
	if in.Wait != "" {
		status = waitStatus(cell.State == cellhold.CellDone, &cell.WaitOver)
	}
	return &cellOutput{Status: status, Body: wholeCell(cell)}, nil
}

func (s *Server) listCells(ctx context.Context, in *SessionPath) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		s.writeCells(w, r, sess)
	}}, nil
}

// writeCells writes a CellList one cell after the other: together their outputs may be larger
// than what one request should hold in memory.
func (s *Server) writeCells(w http.ResponseWriter, r *http.Request, sess *session.Session) {
	open := `{"cells":[`
	for cell, err := range sess.History().Cells(r.Context()) {
		var text []byte
		if err == nil {
			text, err = json.Marshal(wholeCell(cell))
		}
		if err != nil {
			s.failStream(w, r, err, open != ",")
			return
		}
		if open != "," {
			w.Header().Set("Content-Type", "application/json")
		}
		if _, err := w.Write(append([]byte(open), text...)); err != nil {
			return // the reader has gone
		}
		open = ","
	}
	if open != "," {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, open)
	}
	_, _ = io.WriteString(w, "]}\n")
}

// failStream ends an answer that is written in parts: with a problem when nothing is written yet,
// by breaking the connection otherwise, so that half an answer cannot be taken for a whole one.
func (s *Server) failStream(w http.ResponseWriter, r *http.Request, err error, clean bool) {
	p := s.problem(r.Context(), err)
	if !clean {
		panic(http.ErrAbortHandler)
	}
	door.WriteProblem(w, p)
}

// wholeCell makes an empty list out of an absent one.
func wholeCell(c cellhold.Cell) cellhold.Cell {
	if c.Outputs == nil {
		c.Outputs = []cellhold.Output{}
	}
	return c
}
