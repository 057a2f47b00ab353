package server

import (
	"net/http"
	"reflect"

	"cellhold"
	"cellhold/internal/server/door"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// newAPI registers everything under /v1.
func (s *Server) newAPI(m *table) huma.API {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registry.Schema(reflect.TypeFor[door.Problem](), true, "")
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
	s.textRoutes(api)
	s.notebookRoutes(api)
	s.commandRoutes(api)
	s.eventRoutes(api)
	s.fileRoutes(api)
	s.egressRoutes(api)
	s.folderRoutes(api)
	s.packageRoutes(api)
	s.stateRoutes(api)
	return api
}

// register adds one operation with the bounds and the error that all have.
func register[I, O any](api huma.API, op huma.Operation, handle handler[I, O]) {
	op.MaxBodyBytes = door.MaxBody + 1 // huma refuses when the bound is reached, not when it is passed
	op.BodyReadTimeout = door.BodyTime
	op.RejectUnknownQueryParameters = true // a misspelt one would silently mean something else
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "An error.",
		Content: map[string]*huma.MediaType{
			door.ProblemType: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}},
		},
	}
	if op.Method == http.MethodGet && public[op.Path] {
		op.Security = []map[string][]string{} // says "none", where nil would say "as everywhere"
	}
	huma.Register(api, op, handle)
}

// SessionPath is the part of the input that all routes of a session share. It is exported because
// huma looks only into exported embedded structs.
type SessionPath struct {
	ID cellhold.SessionID `path:"id" doc:"Identifies the session." example:"sk3v7q2m9xw4tz6hb"`
}

// KernelQuery names a kernel where most sessions have but one.
type KernelQuery struct {
	Kernel cellhold.KernelID `query:"kernel" maxLength:"64" doc:"Which kernel; the session's first one when absent." example:"python3"`
}
