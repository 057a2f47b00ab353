package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// SubmitCell is the body of a request to run a cell.
type SubmitCell struct {
	_       struct{}          `additionalProperties:"false" json:"-"`
	Code    string            `json:"code" doc:"Source code to run, at most 4 MiB." example:"1 + 1"`
	Kernel  cellhold.KernelID `json:"kernel,omitempty" maxLength:"64" doc:"Kernel that runs the cell. Absent means the session's first kernel." example:"python3"`
	Timeout float64           `json:"timeout,omitempty" minimum:"0" maximum:"31536000" doc:"Maximum run time in seconds, without the time in the queue. Absent or 0 means the server's default." example:"30"`

	OnError    cellhold.OnError  `json:"on_error,omitempty" enum:"continue,cancel" doc:"Effect on the queued cells if this cell does not end with ok. continue: the queued cells run. cancel: the cells in the queue at that moment are cancelled. Absent means continue."`
	Figures    *cellhold.Figures `json:"figures,omitempty" doc:"Format of figures in a Python kernel. Absent means the session's format."`
	AllowStdin bool              `json:"allow_stdin,omitempty" doc:"Allow the code to ask for input. An input_request event has the question; answer it with answer-input. The timeout keeps running. Without allow_stdin, input() fails at once."`
}

type submitInput struct {
	SessionPath
	Wait string `query:"wait" doc:"Maximum time to wait until the cell is done: \"30s\", \"2m\" or seconds, at most 10 minutes. Without wait the answer comes at once." example:"30s"`
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"Your name for this request, so that you can retry it if its answer was lost. The same key with the same request returns the same cell, even after a restart of the server. The same key with another request is a conflict."`
	Body SubmitCell
}

type submitOutput struct {
	Status   int
	Location string `header:"Location" doc:"URL path of the cell."`
	Body     cellhold.Cell
}

type cellInput struct {
	SessionPath
	Cell cellhold.CellID `path:"cell" doc:"Cell id." example:"cq7h2w9d4kx5n3vtb"`
	Wait string          `query:"wait" doc:"Maximum time to wait until the cell is done: \"30s\", \"2m\" or seconds, at most 10 minutes." example:"30s"`
}

type cellOutput struct {
	Status int
	Body   cellhold.Cell
}

// CellList is the body that lists cells.
type CellList struct {
	Cells []cellhold.Cell `json:"cells" doc:"Cells of the session, oldest first."`
}

type streamOutput struct {
	Body func(huma.Context)
}

func (s *Server) cellRoutes(api huma.API) {
	cellSchema := schemaOf(api, cellhold.Cell{})
	register(api, huma.Operation{
		OperationID: "submit-cell", Method: http.MethodPost, Path: "/v1/sessions/{id}/cells", DefaultStatus: http.StatusAccepted, Tags: []string{tagCells},
		Summary:     "Run code",
		Description: "Queues a cell. Without wait, the answer is 202 with the queued cell. With wait, the answer is 200 when the cell is done. If the wait ends first, the answer is 202 with the unfinished cell, and wait_over is true. The cell continues, even if you close the connection. An exception in the code is not an API error: the cell has the status \"error\", and its outputs have the traceback.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The cell is done",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: cellSchema}},
		}},
	}, s.submit)
	register(api, huma.Operation{
		OperationID: "list-cells", Method: http.MethodGet, Path: "/v1/sessions/{id}/cells", Tags: []string{tagCells},
		Summary: "List the cells of a session",
		Responses: map[string]*huma.Response{"200": {
			Description: "The cells with their outputs, oldest first",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, CellList{})}},
		}},
	}, s.listCells)
	register(api, huma.Operation{
		OperationID: "get-cell", Method: http.MethodGet, Path: "/v1/sessions/{id}/cells/{cell}", Tags: []string{tagCells},
		Summary:     "Get a cell, or wait for it",
		Description: "With wait, the answer comes when the cell is done or the wait ends. If the wait ends first, the answer is 202, and wait_over is true.",
		Responses: map[string]*huma.Response{"202": {
			Description: "The wait ended before the cell was done",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: cellSchema}},
		}},
	}, s.getCell)
}

func (s *Server) submit(ctx context.Context, in *submitInput) (*submitOutput, error) {
	if len(in.Body.Code) > exchange.MaxCode {
		return nil, exchange.NewProblem(ctx, http.StatusRequestEntityTooLarge, cellhold.Invalid, exchange.TooLarge)
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
	return &submitOutput{Status: status, Location: location, Body: completeCell(cell)}, nil
}

func (s *Server) getCell(ctx context.Context, in *cellInput) (*cellOutput, error) {
	cell, err := readOrWait(ctx, s, in.SessionPath, in.Wait, in.Cell, cells)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	status := http.StatusOK
	if in.Wait != "" {
		status = waitStatus(cell.State == cellhold.CellDone, &cell.WaitOver)
	}
	return &cellOutput{Status: status, Body: completeCell(cell)}, nil
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

// writeCells writes a CellList one cell at a time: all outputs together can be larger than the memory that
// one request should use.
func (s *Server) writeCells(w http.ResponseWriter, r *http.Request, sess *session.Session) {
	open := `{"cells":[`
	for cell, err := range sess.History().Cells(r.Context()) {
		var text []byte
		if err == nil {
			text, err = json.Marshal(completeCell(cell))
		}
		if err != nil {
			s.failStream(w, r, err, open != ",")
			return
		}
		if open != "," {
			w.Header().Set("Content-Type", "application/json")
		}
		if _, err := w.Write(append([]byte(open), text...)); err != nil {
			return // the reader left
		}
		open = ","
	}
	if open != "," {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, open)
	}
	_, _ = io.WriteString(w, "]}\n")
}

// failStream ends an answer that is written in parts. If nothing is written yet, it sends a problem.
// Otherwise it breaks the connection, so that a client cannot take a part for the whole answer.
func (s *Server) failStream(w http.ResponseWriter, r *http.Request, err error, clean bool) {
	p := s.problem(r.Context(), err)
	if !clean {
		panic(http.ErrAbortHandler)
	}
	exchange.WriteProblem(w, p)
}

// completeCell replaces an absent list with an empty one.
func completeCell(c cellhold.Cell) cellhold.Cell {
	if c.Outputs == nil {
		c.Outputs = []cellhold.Output{}
	}
	return c
}
