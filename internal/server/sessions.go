package server

import (
	"context"
	"net/http"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/server/door"

	"github.com/danielgtaylor/huma/v2"
)

// CreateSession is the body that asks for a session. All of it may be left out.
type CreateSession struct {
	_        struct{}          `additionalProperties:"false" json:"-"`
	User     string            `json:"user,omitempty" maxLength:"256" doc:"Label of the person or agent it is for. Never a path." example:"ann"`
	Template string            `json:"template,omitempty" maxLength:"256" doc:"Name of a template; the server's default one when absent, unless an image is named that is not the template's. What the request leaves out is as the template says." example:"python"`
	Image    string            `json:"image,omitempty" maxLength:"256" doc:"Name of an image; the template's or the server's default when absent." example:"python"`
	Startup  string            `json:"startup,omitempty" doc:"Code to run silently when the kernel has started, and again after each restart; 64 KiB at most. When it fails the session starts all the same, and an event kernel_state has the reason as its detail." example:"import math"`
	Figures  *cellhold.Figures `json:"figures,omitempty" doc:"How the figures of its cells are drawn, where the cell does not say."`
	Limits   cellhold.Limits   `json:"limits,omitempty" doc:"What its sandbox may use; the server's defaults where absent. More than the server allows is refused."`
	Egress   *cellhold.Egress  `json:"egress,omitempty" doc:"What its code may reach outside the sandbox; the server's default when absent. More than the server allows is refused."`
	Secrets  []cellhold.Secret `json:"secrets,omitempty" maxItems:"32" doc:"Values that its code can use without seeing them: it finds placeholders in environment variables, and the server puts the values into headers of HTTPS requests to the hosts they belong to. They are never given back."`
	Metadata map[string]string `json:"metadata,omitempty" maxProperties:"32" doc:"Your own notes, kept and given back unchanged; keys and values have 1 KiB at most."`
}

type createInput struct {
	Body *CreateSession `required:"false"`
}

type createOutput struct {
	Location string `header:"Location" doc:"Where the session is."`
	Body     cellhold.Session
}

type sessionOutput struct {
	Body cellhold.Session
}

// SessionList is the body that lists sessions.
type SessionList struct {
	Sessions []cellhold.Session `json:"sessions" doc:"The caller's sessions, newest first."`
}

type sessionsOutput struct {
	Body SessionList
}

func (s *Server) sessionRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "create-session", Method: http.MethodPost, Path: "/v1/sessions", DefaultStatus: http.StatusCreated, Tags: []string{tagSessions},
		Summary:     "Create a session",
		Description: "Makes a sandbox and starts its kernel. The answer comes when the kernel is idle.",
	}, s.createSession)
	register(api, huma.Operation{
		OperationID: "list-sessions", Method: http.MethodGet, Path: "/v1/sessions", Tags: []string{tagSessions},
		Summary: "List your sessions",
	}, s.listSessions)
	register(api, huma.Operation{
		OperationID: "get-session", Method: http.MethodGet, Path: "/v1/sessions/{id}", Tags: []string{tagSessions},
		Summary: "Look at a session",
	}, s.getSession)
	register(api, huma.Operation{
		OperationID: "delete-session", Method: http.MethodDelete, Path: "/v1/sessions/{id}", DefaultStatus: http.StatusNoContent, Tags: []string{tagSessions},
		Summary:     "End a session",
		Description: "Destroys its sandbox and deletes its cells and events. A running cell is ended with it.",
	}, s.deleteSession)
	register(api, huma.Operation{
		OperationID: "interrupt", Method: http.MethodPost, Path: "/v1/sessions/{id}/interrupt", DefaultStatus: http.StatusNoContent, Tags: []string{tagSessions},
		Summary:     "Interrupt the running cell",
		Description: "Variables are kept. When nothing runs, nothing happens; with cell, no other cell than that one is hit.",
	}, s.interrupt)
	register(api, huma.Operation{
		OperationID: "restart", Method: http.MethodPost, Path: "/v1/sessions/{id}/restart", Tags: []string{tagSessions},
		Summary:     "Restart a kernel",
		Description: "Variables are lost, files are kept, startup code runs again. It also brings a dead kernel back. The answer comes when the new kernel is idle.",
	}, s.restart)
}

func (s *Server) createSession(ctx context.Context, in *createInput) (*createOutput, error) {
	body := in.Body
	if body == nil {
		body = &CreateSession{}
	}
	sess, err := s.sessions.Create(ctx, registry.CreateRequest{
		Owner: door.Caller(ctx), User: body.User, Template: body.Template, Image: body.Image, Startup: body.Startup, Figures: body.Figures,
		Limits: body.Limits, Egress: body.Egress, Secrets: body.Secrets, Meta: body.Metadata,
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	info := whole(sess.Info())
	return &createOutput{Location: "/v1/sessions/" + string(info.ID), Body: info}, nil
}

func (s *Server) listSessions(ctx context.Context, _ *struct{}) (*sessionsOutput, error) {
	list := SessionList{Sessions: []cellhold.Session{}}
	for _, info := range s.sessions.List(door.Caller(ctx)) {
		list.Sessions = append(list.Sessions, whole(info))
	}
	return &sessionsOutput{Body: list}, nil
}

func (s *Server) getSession(ctx context.Context, in *SessionPath) (*sessionOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: whole(sess.Info())}, nil
}

func (s *Server) deleteSession(ctx context.Context, in *SessionPath) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := door.Act(ctx)
	defer cancel()
	if err := sess.End(acting); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}

type interruptInput struct {
	SessionPath
	KernelQuery
	Cell cellhold.CellID `query:"cell" maxLength:"40" doc:"Interrupt only if this cell runs; whichever runs when absent." example:"cq7h2w9d4kx5n3vtb"`
}

type kernelInput struct {
	SessionPath
	KernelQuery
}

func (s *Server) interrupt(ctx context.Context, in *interruptInput) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	if err := sess.Interrupt(ctx, in.Kernel, in.Cell); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}

func (s *Server) restart(ctx context.Context, in *kernelInput) (*sessionOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := door.Act(ctx)
	defer cancel()
	if err := sess.Restart(acting, in.Kernel); err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: whole(sess.Info())}, nil
}

// whole makes empty lists out of absent ones, so that clients can go over them unasked.
func whole(info cellhold.Session) cellhold.Session {
	if info.Kernels == nil {
		info.Kernels = []cellhold.Kernel{}
	}
	if info.Egress.Policy == "" {
		info.Egress.Policy = cellhold.EgressNone
	}
	return info
}
