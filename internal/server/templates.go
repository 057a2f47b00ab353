package server

import (
	"context"
	"net/http"

	"cellhold"

	"github.com/danielgtaylor/huma/v2"
)

// TemplateList is the body that lists templates.
type TemplateList struct {
	Templates []cellhold.Template `json:"templates" doc:"Templates of the server, the default one first."`
}

type templatesOutput struct {
	Body TemplateList
}

func (s *Server) templateRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "list-templates", Method: http.MethodGet, Path: "/v1/templates", Tags: []string{tagSessions},
		Summary:     "List the templates",
		Description: "A template is a recipe of sessions that start fast, because they continue from a snapshot. While a template has no snapshot, its sessions start cold. They are the same, but start more slowly.",
	}, s.listTemplates)
}

func (s *Server) listTemplates(context.Context, *struct{}) (*templatesOutput, error) {
	return &templatesOutput{Body: TemplateList{Templates: s.sessions.Templates()}}, nil
}
