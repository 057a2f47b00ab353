package server

import (
	"net/http"
	"reflect"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/introspection"
	"cellhold/internal/server/ports"
	"cellhold/internal/server/runs"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// newAPI registers all operations under /v1.
func (s *Server) newAPI(m *table) huma.API {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registry.Schema(reflect.TypeFor[exchange.Problem](), true, "")
	api := humago.New(m, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "cellhold", Version: "1.1", Description: introduction},
			Components: &huma.Components{Schemas: registry, SecuritySchemes: securitySchemes},
			Security:   []map[string][]string{{"token": {}}},
			Tags:       tags,
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{ownProblems},
	})
	s.sessionRoutes(api)
	s.templateRoutes(api)
	s.kernelRoutes(api)
	s.snapshotRoutes(api)
	s.cellRoutes(api)
	s.actRoutes(api)
	introspection.Register(api, introspection.Options{Find: s.session, Logger: s.log, Tag: tagCells, Prepare: prepare})
	s.textRoutes(api)
	s.notebookRoutes(api)
	s.commandRoutes(api)
	s.eventRoutes(api)
	s.fileRoutes(api)
	s.egressRoutes(api)
	s.folderRoutes(api)
	s.packageRoutes(api)
	runs.Register(api, runs.Options{Runs: s.runs, Waiters: &s.waiters, Logger: s.log, Tag: tagRuns, Prepare: prepare})
	ports.Register(m, api, s.ports, ports.Routes{Find: s.session, Problem: s.problem, Prepare: prepare, Tag: tagPorts})
	s.stateRoutes(api)
	return api
}

// register adds one operation with the limits and the error answer that all operations have.
func register[I, O any](api huma.API, op huma.Operation, handle handler[I, O]) {
	prepare(&op)
	huma.Register(api, op, handle)
}

// prepare adds to an operation the limits and the error answer that all operations have.
func prepare(op *huma.Operation) {
	op.MaxBodyBytes = exchange.MaxBody + 1 // huma refuses a body that reaches the limit
	op.BodyReadTimeout = exchange.BodyTime
	op.RejectUnknownQueryParameters = true // a misspelt parameter must be an error, not ignored
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "An error.",
		Content: map[string]*huma.MediaType{
			exchange.ProblemType: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}},
		},
	}
	if op.Method == http.MethodGet && public[op.Path] {
		op.Security = []map[string][]string{} // an empty list means no token; nil would mean the default
	}
}

// SessionPath is the input of all routes of a session. It is exported because huma reads only exported
// embedded structs.
type SessionPath struct {
	ID cellhold.SessionID `path:"id" doc:"Session id." example:"sk3v7q2m9xw4tz6hb"`
}

// KernelQuery selects a kernel of a session.
type KernelQuery struct {
	Kernel cellhold.KernelID `query:"kernel" maxLength:"64" doc:"Kernel id. Absent means the session's first kernel." example:"python3"`
}
