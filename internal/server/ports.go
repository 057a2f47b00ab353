package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cellhold"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/guard"
	"cellhold/internal/server/ports"

	"github.com/danielgtaylor/huma/v2"
)

// portPath is the path of all requests to a port.
const portPath = "/v1/sessions/{id}/ports/{port}/{path}"

// portMethods are the methods that are passed on. GET includes HEAD.
var portMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

type portAccessOutput struct{ Body cellhold.PortAccess }

// portRoutes registers the routes of ports. Requests to a port do not go through huma, because the program decides about their
// content.
func (s *Server) portRoutes(m *table, api huma.API) {
	register(api, huma.Operation{
		OperationID: "get-ports", Method: http.MethodGet, Path: "/v1/sessions/{id}/ports", Tags: []string{tagPorts},
		Summary: "Show how to reach ports", Description: "Returns the path and the hosts of the session's ports, and the token of the hosts.",
	}, s.getPorts)
	for _, method := range portMethods {
		m.HandleFunc(method+" "+portPath, s.usePort)
	}
	op := huma.Operation{
		OperationID: "use-port", Method: http.MethodGet, Path: portPath, Tags: []string{tagPorts},
		Summary: "Send a request to a port",
		Description: "Passes a request on to the program that listens on the port, with every method (except CONNECT and TRACE), and WebSockets. The program gets the path after the port, and the query. " +
			"It gets neither your token nor your cookies. Its answer has only the headers that describe the content, and a Content-Security-Policy, so that a browser runs none of its pages as a page of this server. " +
			"A redirect that leaves the port has no Location. If no program listens on the port, the answer is 502.",
		Parameters: []*huma.Param{
			{Name: "id", In: "path", Required: true, Description: "Session id.", Schema: &huma.Schema{Type: huma.TypeString}, Example: "sk3v7q2m9xw4tz6hb"},
			{Name: "port", In: "path", Required: true, Description: "Port on the loopback of the sandbox.", Schema: &huma.Schema{Type: huma.TypeInteger}, Example: 8000},
			{Name: "path", In: "path", Required: true, Description: "Path of the request to the program. It can be empty, and can contain slashes.", Schema: &huma.Schema{Type: huma.TypeString}, Example: "index.html"},
		},
		Responses: map[string]*huma.Response{"200": {Description: "The answer of the program, with its status"}},
	}
	prepare(&op)
	op.RejectUnknownQueryParameters = false
	api.OpenAPI().AddOperation(&op)
}

// newPorts returns the proxy for ports.
func (s *Server) newPorts() *ports.Proxy {
	return ports.New(ports.Options{Dial: s.sessions.DialPort, Waiters: &s.waiters, Token: tokenTest(s.options.Tokens)})
}

// tokenTest returns a function that reports whether a text is a token.
func tokenTest(tokens *guard.Tokens) func(string) bool {
	if tokens == nil {
		return nil
	}
	return func(text string) bool {
		_, known := tokens.Caller(text)
		return known
	}
}

// byHost serves the hosts of ports, and passes other requests to next.
func (s *Server) byHost(next http.Handler) http.Handler {
	return s.ports.ByHost(ports.HostOptions{Names: s.guard.Hosts, Access: s.access, Public: s.sessions.HasPublicPorts}, next)
}

// isPort reports whether the path of a request is that of a port.
func isPort(r *http.Request) bool {
	parts := strings.SplitN(r.URL.Path, "/", 7)
	return len(parts) == 7 && parts[1] == "v1" && parts[2] == "sessions" && parts[4] == "ports"
}

func (s *Server) usePort(w http.ResponseWriter, r *http.Request) {
	sess, err := s.session(r.Context(), cellhold.SessionID(r.PathValue("id")))
	fail := func(err error) {
		p := s.problem(r.Context(), err)
		switch {
		case errors.Is(err, ports.ErrNoAnswer):
			p = exchange.NewProblem(r.Context(), http.StatusBadGateway, p.Kind, p.Detail)
		case p.Kind == cellhold.NotFound && sess != nil: // the session is there, so it is the port
			p = exchange.NewProblem(r.Context(), http.StatusBadGateway, p.Kind, fmt.Sprintf("No program listens on port %s of the sandbox.", r.PathValue("port")))
		}
		exchange.WriteProblem(w, p)
	}
	if err != nil {
		fail(err)
		return
	}
	port, ok := ports.ReadPort(r.PathValue("port"))
	if !ok {
		fail(cellhold.Errorf(cellhold.Invalid, "Invalid port %.20q: use 1 to 65535.", r.PathValue("port")))
		return
	}
	s.ports.Path(w, r, sess, port, fail)
}

func (s *Server) getPorts(ctx context.Context, in *SessionPath) (*portAccessOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	p := cellhold.PortAccess{Path: ports.PathOf(sess.ID(), "PORT"), Hosts: []string{}, Public: s.sessions.HasPublicPorts(sess), Header: access.TrafficHeader}
	for _, name := range s.guard.Hosts {
		p.Hosts = append(p.Hosts, "PORT-"+string(sess.ID())+"."+name)
	}
	if s.options.Tokens != nil {
		p.Token = s.access.Tokens(sess).Ports
	}
	return &portAccessOutput{Body: p}, nil
}
