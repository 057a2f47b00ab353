package server

import (
	"context"
	"net/http"

	"cellhold"

	"github.com/danielgtaylor/huma/v2"
)

type attemptsInput struct {
	SessionPath
	After int64 `query:"after" minimum:"0" doc:"Read the attempts after this number. 0 means from the beginning." example:"0"`
}

// AttemptPage is the body that lists the connection attempts of a session's code.
type AttemptPage struct {
	Attempts []cellhold.EgressAttempt `json:"attempts" doc:"Attempts, oldest first, at most 1000. An attempt whose end is on a later page appears there again, with the same id."`
	Next     int64                    `json:"next" doc:"Send this as after to read the next page."`
}

type attemptsOutput struct {
	Body AttemptPage
}

func (s *Server) egressRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "list-egress", Method: http.MethodGet, Path: "/v1/sessions/{id}/egress", Tags: []string{tagSessions},
		Summary:     "List the connection attempts of a session",
		Description: "Lists each attempt of the code to connect to a host through the session's egress, including refused attempts. Events of the type egress report the attempts live. After 10,000 attempts the list has one per minute, with the number of the others.",
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
