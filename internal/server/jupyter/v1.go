package jupyter

import (
	"context"
	"net/http"

	"cellhold"
	"cellhold/internal/server/exchange"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// channelsPath is the route of /v1 for the messages of a kernel.
const channelsPath = "/v1/sessions/{id}/channels"

type channelsInput struct {
	ID     cellhold.SessionID `path:"id" doc:"Session id." example:"sk3v7q2m9xw4tz6hb"`
	Kernel cellhold.KernelID  `query:"kernel" maxLength:"64" doc:"Kernel id. Absent means the session's first kernel." example:"python3"`
	Client string             `query:"client" maxLength:"256" doc:"Name of the client, such as a UUID. A client that connects again with its name within 10 minutes gets the messages that wait for it. Absent means a client that cannot return." example:"5f0c1a7e-8f0e-4c57-9a3e-0d9f2b6b7c11"`
}

type channelsOutput struct {
	Body func(huma.Context)
}

// RegisterV1 registers the route of /v1. Its callers are found by the guard, as those of all routes of /v1. tag is the tag
// of the route in the document; prepare adds the limits and the error answer that all operations have.
func (s *Server) RegisterV1(api huma.API, tag string, prepare func(*huma.Operation)) {
	op := huma.Operation{
		OperationID: "connect-kernel", Method: http.MethodGet, Path: channelsPath, Tags: []string{tag},
		Summary: "Exchange Jupyter messages with a kernel",
		Description: "Upgrades the connection to WebSocket. Each message is one Jupyter message in the form of the subprotocol v1.kernel.websocket.jupyter.org. " +
			"An execute_request is a cell of the session. The server ends the connection when the session or the kernel ends. Requests without an upgrade are refused as invalid.",
		Responses: map[string]*huma.Response{"101": {Description: "The connection is a WebSocket now."}},
	}
	prepare(&op)
	huma.Register(api, op, s.v1Channels)
	delete(api.OpenAPI().Paths[channelsPath].Get.Responses, "200") // huma adds it
}

// v1Channels reaches all sessions of the caller. Jupyter's own route reaches only those that Jupyter's clients see.
func (s *Server) v1Channels(ctx context.Context, in *channelsInput) (*channelsOutput, error) {
	caller := exchange.Caller(ctx)
	of, err := s.Sessions.Session(ctx, caller, in.ID)
	if err != nil {
		return nil, exchange.ProblemOf(ctx, s.Logger, err)
	}
	to := end{caller: caller, of: of, kernel: in.Kernel, client: in.Client}
	if kernels := of.Info().Kernels; to.kernel == "" && len(kernels) > 0 {
		to.kernel = kernels[0].ID
	}
	return &channelsOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		if err := s.connect(w, r, to); err != nil {
			exchange.WriteProblem(w, exchange.ProblemOf(r.Context(), s.Logger, err))
		}
	}}, nil
}
