package server

import (
	"context"
	"net/http"

	"cellhold/internal/server/exchange"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type channelsInput struct {
	SessionPath
	KernelQuery
	Client string `query:"client" maxLength:"256" doc:"Name of the client, such as a UUID. A client that connects again with its name within 10 minutes gets the messages that wait for it. Absent means a client that cannot return." example:"5f0c1a7e-8f0e-4c57-9a3e-0d9f2b6b7c11"`
}

func (s *Server) channelRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "connect-kernel", Method: http.MethodGet, Path: "/v1/sessions/{id}/channels", Tags: []string{tagSessions},
		Summary: "Exchange Jupyter messages with a kernel",
		Description: "Upgrades the connection to WebSocket. Each message is one Jupyter message in the form of the subprotocol v1.kernel.websocket.jupyter.org. " +
			"An execute_request is a cell of the session. The server ends the connection when the session or the kernel ends. Requests without an upgrade are refused as invalid.",
		Responses: map[string]*huma.Response{"101": {Description: "The connection is a WebSocket now."}},
	}, s.channels)
}

// channels reaches all sessions of the caller. Jupyter's own route reaches only those that Jupyter's clients see.
func (s *Server) channels(ctx context.Context, in *channelsInput) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		if err := s.jupyter.Connect(w, r, exchange.Caller(r.Context()), sess, in.Kernel, in.Client); err != nil {
			s.failStream(w, r, err, true)
		}
	}}, nil
}
