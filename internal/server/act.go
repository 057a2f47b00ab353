package server

import (
	"context"
	"net/http"

	"cellhold"
	"cellhold/internal/server/door"

	"github.com/danielgtaylor/huma/v2"
)

// cellPath names a cell.
type cellPath struct {
	SessionPath
	Cell cellhold.CellID `path:"cell" doc:"Identifies the cell." example:"cq7h2w9d4kx5n3vtb"`
}

// AnswerInput is the body that answers what a cell asks for.
type AnswerInput struct {
	_       struct{} `additionalProperties:"false" json:"-"`
	Value   string   `json:"value" doc:"What input() returns, without the end of the line; 1 MiB at most." example:"yes"`
	Request int64    `json:"request,omitempty" minimum:"0" doc:"Number of the input_request event that this answers; whatever is asked now when absent." example:"7"`
}

type answerInput struct {
	SessionPath
	Cell cellhold.CellID `path:"cell" doc:"Identifies the cell." example:"cq7h2w9d4kx5n3vtb"`
	Body AnswerInput
}

// actRoutes are what can be done to a cell that was submitted.
func (s *Server) actRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "cancel-cell", Method: http.MethodPost, Path: "/v1/sessions/{id}/cells/{cell}/cancel", Tags: []string{tagCells},
		Summary:     "Cancel a cell",
		Description: "A cell that waits never runs and is done when the answer comes. A cell that runs is interrupted, and no other one is, whatever happens meanwhile; look at it for its end. A cell that is done is a conflict.",
	}, s.cancelCell)
	register(api, huma.Operation{
		OperationID: "answer-input", Method: http.MethodPost, Path: "/v1/sessions/{id}/cells/{cell}/input", DefaultStatus: http.StatusNoContent, Tags: []string{tagCells},
		Summary:     "Answer input()",
		Description: "Gives a cell that was submitted with allow_stdin what it asks for. Each question is answered once: when it was answered already, or nothing is asked, that is a conflict.",
	}, s.answerInput)
}

func (s *Server) cancelCell(ctx context.Context, in *cellPath) (*cellOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := door.Act(ctx)
	defer cancel()
	cell, err := sess.CancelCell(acting, in.Cell)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &cellOutput{Status: http.StatusOK, Body: wholeCell(cell)}, nil
}

func (s *Server) answerInput(ctx context.Context, in *answerInput) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := door.Act(ctx)
	defer cancel()
	if err := sess.AnswerInput(acting, in.Cell, in.Body.Request, in.Body.Value); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}
