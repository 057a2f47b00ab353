package server

import (
	"context"
	"net/http"

	"cellhold"

	"github.com/danielgtaylor/huma/v2"
)

// TemplateList is the body that lists templates.
type TemplateList struct {
	Templates []cellhold.Template `json:"templates" doc:"What sessions can be made from, the default one first."`
}

type templatesOutput struct {
	Body TemplateList
}

func (s *Server) templateRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "list-templates", Method: http.MethodGet, Path: "/v1/templates", Tags: []string{tagSessions},
		Summary:     "What can sessions start from?",
		Description: "A template is a recipe of sessions that start fast, because one was started, warmed up and saved beforehand. While a template has no snapshot, its sessions start cold: slower, and the same otherwise.",
	}, s.listTemplates)
}

func (s *Server) listTemplates(context.Context, *struct{}) (*templatesOutput, error) {
	return &templatesOutput{Body: TemplateList{Templates: s.sessions.Templates()}}, nil
}
