package server

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"net/http"
	"time"

	"cellhold"
	"cellhold/internal/outputs"
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
	Env        map[string]string `json:"env,omitempty" maxProperties:"100" doc:"Variables of this cell only, at most 64 KiB. The server restores the former values after the cell. For Python, Bash, R and JavaScript."`
	AllowStdin bool              `json:"allow_stdin,omitempty" doc:"Allow the code to ask for input. An input_request event has the question; answer it with answer-input. The timeout keeps running. Without allow_stdin, input() fails at once."`
}

type submitInput struct {
	SessionPath
	Wait string `query:"wait" doc:"Maximum time to wait until the cell is done: \"30s\", \"2m\" or seconds, at most 10 minutes. Without wait the answer comes at once." example:"30s"`
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"Your name for this request, so that you can retry it if its answer was lost. The same key with the same request returns the same cell, even after a restart of the server. The same key with another request is a conflict."`
	Body SubmitCell
}

type submitOutput struct {
	Location string `header:"Location" doc:"URL path of the cell."`
	Body     func(huma.Context)
}

type cellInput struct {
	SessionPath
	Cell cellhold.CellID `path:"cell" doc:"Cell id." example:"cq7h2w9d4kx5n3vtb"`
	Wait string          `query:"wait" doc:"Maximum time to wait until the cell is done: \"30s\", \"2m\" or seconds, at most 10 minutes." example:"30s"`
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
		Responses:   cellResponses(cellSchema, "Accepted", "The cell is done"),
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
		Responses:   cellResponses(cellSchema, "The wait ended before the cell was done", "OK"),
	}, s.getCell)
}

// cellResponses returns the answers with a cell that is accepted or not done (202), and with one that can be read (200).
func cellResponses(schema *huma.Schema, accepted, ok string) map[string]*huma.Response {
	content := map[string]*huma.MediaType{"application/json": {Schema: schema}}
	return map[string]*huma.Response{"202": {Description: accepted, Content: content}, "200": {Description: ok, Content: content}}
}

func (s *Server) submit(ctx context.Context, in *submitInput) (*submitOutput, error) {
	if len(in.Body.Code) > exchange.MaxCode {
		return nil, exchange.NewProblem(ctx, http.StatusRequestEntityTooLarge, cellhold.Invalid, exchange.TooLarge)
	}
	wait, err := exchange.ParseWait(in.Wait)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	cell, err := sess.Execute(ctx, session.ExecuteRequest{
		Kernel: in.Body.Kernel, Code: in.Body.Code, Timeout: seconds(in.Body.Timeout),
		OnError: in.Body.OnError, AllowStdin: in.Body.AllowStdin, Figures: in.Body.Figures, Key: in.Key, Env: in.Body.Env,
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	location := "/v1/sessions/" + string(in.ID) + "/cells/" + string(cell.ID)
	if wait == 0 {
		return &submitOutput{Location: location, Body: s.sendCell(sess, cell.ID, smallOf(cell), func(*cellhold.Cell) int { return http.StatusAccepted })}, nil
	}
	return &submitOutput{Location: location, Body: s.cellBody(ctx, sess, cell.ID, wait, true)}, nil
}

func (s *Server) getCell(ctx context.Context, in *cellInput) (*streamOutput, error) {
	wait, err := exchange.ParseWait(in.Wait)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: s.cellBody(ctx, sess, in.Cell, wait, in.Wait != "")}, nil
}

// cellBody waits for a cell, for the time wait at most, and returns a function that answers with the cell. If a wait
// ends before the cell is done, the answer has the unfinished cell, and the caller can wait again. asked is true if the
// caller asked for a wait.
func (s *Server) cellBody(ctx context.Context, sess *session.Session, id cellhold.CellID, wait time.Duration, asked bool) func(huma.Context) {
	var small *cellhold.Cell
	if wait > 0 {
		waiting, leave := s.waitFor(ctx, wait)
		defer leave()
		if c, ok, err := sess.History().AwaitCell(waiting, id); ok && err == nil {
			small = smallOf(c)
		}
	}
	return s.sendCell(sess, id, small, func(c *cellhold.Cell) int {
		if asked {
			return waitStatus(c.State == cellhold.CellDone, &c.WaitOver)
		}
		return http.StatusOK
	})
}

// sendCell returns a function that answers with a cell and its status. If small is nil, the cell is read with memory of the
// server's budget.
func (s *Server) sendCell(sess *session.Session, id cellhold.CellID, small *cellhold.Cell, statusOf func(*cellhold.Cell) int) func(huma.Context) {
	return func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		send := func(c cellhold.Cell) {
			status := statusOf(&c) // can change the cell
			writeCell(w, status, c)
		}
		if small != nil {
			send(*small)
		} else if err := sess.History().UseCell(r.Context(), id, send); err != nil {
			exchange.WriteProblem(w, s.problem(r.Context(), err))
		}
	}
}

// smallCell is the size of outputs up to which a cell is kept in memory until it is sent.
const smallCell = 64 << 10

// smallOf returns a cell if its outputs are small, and nil otherwise.
func smallOf(c cellhold.Cell) *cellhold.Cell {
	if outputs.Size(c.Outputs) > smallCell {
		return nil
	}
	return &c
}

// writeCell answers with a cell.
func writeCell(w http.ResponseWriter, status int, c cellhold.Cell) {
	defer exchange.Steady(w)()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	b := bufio.NewWriterSize(w, pieceBytes)
	err := outputs.WriteCell(b, outputs.Cell{Cell: c}, c.Outputs)
	_ = b.WriteByte('\n') // Flush returns the error
	if err = cmp.Or(err, b.Flush()); err != nil {
		panic(http.ErrAbortHandler) // the reader left, or must not take a part for the whole cell
	}
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

// writeCells writes a CellList.
func (s *Server) writeCells(w http.ResponseWriter, r *http.Request, sess *session.Session) {
	out := newListWriter(w, `{"cells":[`)
	defer out.end()
	for c, err := range sess.History().Cells(r.Context()) {
		if err != nil {
			s.failStream(w, r, err, out.empty())
			return
		}
		out.item(func(w io.Writer) error { return outputs.WriteCell(w, outputs.Cell{Cell: c}, c.Outputs) })
	}
	out.finish("]}")
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
