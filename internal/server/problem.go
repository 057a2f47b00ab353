package server

import (
	"context"
	"net/http"
	"strings"

	"cellhold/internal/server/exchange"

	"github.com/danielgtaylor/huma/v2"
)

// problem converts an error to the answer that its caller can see, and logs the details.
func (s *Server) problem(ctx context.Context, err error) *exchange.Problem {
	return exchange.ProblemOf(ctx, s.log, err)
}

// ownProblems converts huma's errors to Problems. It omits the invalid values, which can have megabytes.
func ownProblems(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := exchange.NewProblem(ctx.Context(), m.Status, exchange.KindOf(m.Status), sentence(m))
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, exchange.ProblemField{Location: e.Location, Message: e.Message})
	}
	return p, nil
}

func sentence(m *huma.ErrorModel) string {
	switch {
	case m.Status == http.StatusRequestEntityTooLarge:
		return exchange.TooLarge
	case m.Status == http.StatusUnsupportedMediaType:
		return "The body must be application/json."
	case m.Status == http.StatusBadRequest && len(m.Errors) > 0:
		return "The body is not valid JSON: " + m.Errors[0].Message + "."
	case len(m.Errors) > 0:
		return "The request is not valid: " + m.Errors[0].Location + ": " + m.Errors[0].Message + "."
	case m.Detail == "":
		return http.StatusText(m.Status) + "."
	}
	return strings.ToUpper(m.Detail[:1]) + m.Detail[1:] + "."
}
