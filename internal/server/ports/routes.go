package ports

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cellhold"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
)

// RoutePath is the path of all requests to a port below /v1.
const RoutePath = "/v1/sessions/{id}/ports/{port}/{path}"

// methods are the methods that are passed on. GET includes HEAD.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// Routes configures the routes below /v1. All fields are required.
type Routes struct {
	Find    func(context.Context, cellhold.SessionID) (*session.Session, error) // returns a session of the caller
	Problem func(context.Context, error) *exchange.Problem
	Prepare func(*huma.Operation) // adds what all operations have
	Tag     string
}

// SessionPath is the input of the route that describes the ports. It is exported because huma reads only exported structs.
type SessionPath struct {
	ID cellhold.SessionID `path:"id" doc:"Session id." example:"sk3v7q2m9xw4tz6hb"`
}

type accessOutput struct{ Body cellhold.PortAccess }

// Register registers the routes. Requests to a port do not go through huma, because the program decides about their content.
func Register(m access.Mux, api huma.API, p *Proxy, o Routes) {
	show := huma.Operation{
		OperationID: "get-ports", Method: http.MethodGet, Path: "/v1/sessions/{id}/ports", Tags: []string{o.Tag},
		Summary: "Show how to reach ports", Description: "Returns the path and the hosts of the session's ports, and the token of the hosts.",
	}
	o.Prepare(&show)
	huma.Register(api, show, func(ctx context.Context, in *SessionPath) (*accessOutput, error) {
		s, err := o.Find(ctx, in.ID)
		if err != nil {
			return nil, o.Problem(ctx, err)
		}
		return &accessOutput{Body: p.describe(s)}, nil
	})
	for _, method := range methods {
		m.HandleFunc(method+" "+RoutePath, func(w http.ResponseWriter, r *http.Request) { p.use(w, r, o) })
	}
	use := operation(o.Tag)
	o.Prepare(&use)
	use.RejectUnknownQueryParameters = false
	api.OpenAPI().AddOperation(&use)
}

// operation describes the requests to a port, whose methods differ only in their name.
func operation(tag string) huma.Operation {
	return huma.Operation{
		OperationID: "use-port", Method: http.MethodGet, Path: RoutePath, Tags: []string{tag},
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
}

// Is reports whether the path of a request is that of a port.
func Is(r *http.Request) bool {
	parts := strings.SplitN(r.URL.Path, "/", 7)
	return len(parts) == 7 && parts[1] == "v1" && parts[2] == "sessions" && parts[4] == "ports"
}

// use passes a request below /v1 on.
func (p *Proxy) use(w http.ResponseWriter, r *http.Request, o Routes) {
	s, err := o.Find(r.Context(), cellhold.SessionID(r.PathValue("id")))
	fail := func(err error) {
		problem := o.Problem(r.Context(), err)
		switch {
		case errors.Is(err, ErrNoAnswer):
			problem = exchange.NewProblem(r.Context(), http.StatusBadGateway, problem.Kind, problem.Detail)
		case problem.Kind == cellhold.NotFound && s != nil: // the session is there, so it is the port
			problem = exchange.NewProblem(r.Context(), http.StatusBadGateway, problem.Kind, fmt.Sprintf("No program listens on port %s of the sandbox.", r.PathValue("port")))
		}
		exchange.WriteProblem(w, problem)
	}
	if err != nil {
		fail(err)
		return
	}
	port, ok := ReadPort(r.PathValue("port"))
	if !ok {
		fail(cellhold.Errorf(cellhold.Invalid, "Invalid port %.20q: use 1 to 65535.", r.PathValue("port")))
		return
	}
	p.Path(w, r, s, port, fail)
}

// describe returns how programs reach the ports of a session.
func (p *Proxy) describe(s *session.Session) cellhold.PortAccess {
	shown := cellhold.PortAccess{Path: PathOf(s.ID(), "PORT"), Hosts: []string{}, Public: p.o.Public(s), Header: access.TrafficHeader}
	for _, name := range p.o.Names {
		shown.Hosts = append(shown.Hosts, "PORT-"+string(s.ID())+"."+name)
	}
	if p.o.Caller != nil {
		shown.Token = p.o.Access.Tokens(s).Ports
	}
	return shown
}
