package server

import (
	"context"
	"net/http"

	"cellhold"

	"github.com/danielgtaylor/huma/v2"
)

type attemptsInput struct {
	SessionPath
	After int64 `query:"after" minimum:"0" doc:"Read on after this number; 0 is from the beginning." example:"0"`
}

// AttemptPage is the body that lists what the code of a session tried to reach.
type AttemptPage struct {
	Attempts []cellhold.EgressAttempt `json:"attempts" doc:"Attempts, oldest first, 1000 at most. One that ended on a later page is there again, with the same id."`
	Next     int64                    `json:"next" doc:"Give this as after to read on."`
}

type attemptsOutput struct {
	Body AttemptPage
}

func (s *Server) egressRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "list-egress", Method: http.MethodGet, Path: "/v1/sessions/{id}/egress", Tags: []string{tagSessions},
		Summary:     "What did its code try to reach?",
		Description: "Every attempt to reach something outside the sandbox by the way out that the session's egress policy gives it, those that were refused included. The same comes live as events of the type egress. After 10,000 attempts only one a minute is listed, with the number of the others.",
	}, s.listAttempts)
}

func (s *Server) listAttempts(ctx context.Context, in *attemptsInput) (*attemptsOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list, next, err := sess.History().Attempts(ctx, in.After)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &attemptsOutput{Body: AttemptPage{Attempts: list, Next: next}}, nil
}
