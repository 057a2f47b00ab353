package server

import (
	"context"
	"net/http"

	"cellhold"
	"cellhold/internal/server/exchange"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// cellPath is the input of the routes of a cell.
type cellPath struct {
	SessionPath
	Cell cellhold.CellID `path:"cell" doc:"Cell id." example:"cq7h2w9d4kx5n3vtb"`
}

// AnswerInput is the body of an answer to a question of a cell.
type AnswerInput struct {
	_       struct{} `additionalProperties:"false" json:"-"`
	Value   string   `json:"value" doc:"Text that input() returns, without a line break, at most 1 MiB." example:"yes"`
	Request int64    `json:"request,omitempty" minimum:"0" doc:"Number of the input_request event. Absent means the open question." example:"7"`
}

type answerInput struct {
	SessionPath
	Cell cellhold.CellID `path:"cell" doc:"Cell id." example:"cq7h2w9d4kx5n3vtb"`
	Body AnswerInput
}

// actRoutes registers the actions on a submitted cell.
func (s *Server) actRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "cancel-cell", Method: http.MethodPost, Path: "/v1/sessions/{id}/cells/{cell}/cancel", Tags: []string{tagCells},
		Summary:     "Cancel a cell",
		Description: "A queued cell never runs and is done when the answer comes. A running cell is interrupted; get the cell to see its result. Other cells are not affected. If the cell is done, the answer is a conflict.",
		Responses: map[string]*huma.Response{"200": {
			Description: "OK",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, cellhold.Cell{})}},
		}},
	}, s.cancelCell)
	register(api, huma.Operation{
		OperationID: "answer-input", Method: http.MethodPost, Path: "/v1/sessions/{id}/cells/{cell}/input", DefaultStatus: http.StatusNoContent, Tags: []string{tagCells},
		Summary:     "Answer input()",
		Description: "Answers the question of a cell that was submitted with allow_stdin. Each question takes one answer. If there is no open question, or it was answered before, the answer is a conflict.",
	}, s.answerInput)
}

func (s *Server) cancelCell(ctx context.Context, in *cellPath) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	cell, err := sess.CancelCell(acting, in.Cell)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		writeCell(w, http.StatusOK, cell)
	}}, nil
}

func (s *Server) answerInput(ctx context.Context, in *answerInput) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	if err := sess.AnswerInput(acting, in.Cell, in.Body.Request, in.Body.Value); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}
