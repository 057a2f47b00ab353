package server

import (
	"context"
	"net/http"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session/terms"

	"github.com/danielgtaylor/huma/v2"
)

// CreateSession is the body of a request for a session. All members are optional.
type CreateSession struct {
	_        struct{}          `additionalProperties:"false" json:"-"`
	User     string            `json:"user,omitempty" maxLength:"256" doc:"Label of the person or agent. Never used as a path." example:"ann"`
	Template string            `json:"template,omitempty" maxLength:"256" doc:"Name of a template. Absent means the default template, or none if image names another image. The template sets all values that the request omits." example:"python"`
	Image    string            `json:"image,omitempty" maxLength:"256" doc:"Name of an image. Absent means the template's image, or the server's default." example:"python"`
	Startup  string            `json:"startup,omitempty" doc:"Code that runs without output after each start of the kernel, at most 64 KiB. If it fails, the session starts anyway, and the detail of a kernel_state event has the reason." example:"import math"`
	Figures  *cellhold.Figures `json:"figures,omitempty" doc:"Default format of figures in the session's cells."`
	Limits   cellhold.Limits   `json:"limits,omitempty" doc:"Limits of the session's sandbox. Absent members mean the server's defaults. Limits above the server's maximum are refused."`
	Egress   *cellhold.Egress  `json:"egress,omitempty" doc:"Network access of the session's code. Absent means the server's default. Access beyond the server's policy is refused."`
	Secrets  []cellhold.Secret `json:"secrets,omitempty" maxItems:"32" doc:"Values that code can use without seeing them. Environment variables have placeholders, and the server replaces them in headers of HTTPS requests to the secret's host. The server never returns the values."`
	Metadata map[string]string `json:"metadata,omitempty" maxProperties:"32" doc:"Your notes, stored and returned unchanged. Keys and values have at most 1 KiB."`

	Env        map[string]string       `json:"env,omitempty" maxProperties:"100" doc:"Variables to add to the environment of the session's kernels and commands, at most 64 KiB. The server does not return them."`
	Dir        string                  `json:"cwd,omitempty" doc:"Working directory of the session's kernels and commands, and the base of relative paths: an absolute path of an existing directory. Absent means /workspace." example:"/home/user"`
	Lifetime   float64                 `json:"lifetime,omitempty" minimum:"0" maximum:"86400" doc:"Seconds until the session's deadline. Absent or 0 means no deadline: the session ends when it is idle." example:"300"`
	AtDeadline cellhold.DeadlineAction `json:"at_deadline,omitempty" enum:"end,hibernate" doc:"Action at the deadline. Absent means end."`
	Resume     cellhold.ResumePolicy   `json:"resume,omitempty" enum:"use,request" doc:"Use or request that resumes the session after a requested hibernation, or after one at the deadline. Absent means use."`

	PublicPorts bool `json:"public_ports,omitempty" doc:"If true, everybody can reach the ports of the session through hosts of the server (--host), without a token. Refused if the server does not allow it (--public-ports)."`
}

type createInput struct {
	Key  string         `header:"Idempotency-Key" maxLength:"255" doc:"Your name for this request, so that you can retry it if its answer was lost. The same key with the same request returns the same session as long as it lives. The same key with another request is a conflict; values of secrets are not compared."`
	Body *CreateSession `required:"false"`
}

// SetDeadline is the body of a request to set a deadline.
type SetDeadline struct {
	_          struct{}                `additionalProperties:"false" json:"-"`
	Lifetime   float64                 `json:"lifetime" exclusiveMinimum:"0" maximum:"86400" doc:"Seconds from now to the deadline." example:"300"`
	AtDeadline cellhold.DeadlineAction `json:"at_deadline,omitempty" enum:"end,hibernate" doc:"Action at the deadline. Absent means the present action, or end."`
}

type deadlineInput struct {
	SessionPath
	Body SetDeadline
}

type createOutput struct {
	Location string `header:"Location" doc:"URL path of the session."`
	Body     cellhold.Session
}

type sessionOutput struct {
	Body cellhold.Session
}

// SessionList is the body that lists sessions.
type SessionList struct {
	Sessions []cellhold.Session `json:"sessions" doc:"Sessions of the caller, newest first."`
}

type sessionsOutput struct {
	Body SessionList
}

func (s *Server) sessionRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "create-session", Method: http.MethodPost, Path: "/v1/sessions", DefaultStatus: http.StatusCreated, Tags: []string{tagSessions},
		Summary:     "Create a session",
		Description: "Creates a sandbox and starts its kernel. The answer comes when the kernel is idle.",
	}, s.createSession)
	register(api, huma.Operation{
		OperationID: "list-sessions", Method: http.MethodGet, Path: "/v1/sessions", Tags: []string{tagSessions},
		Summary: "List your sessions", Description: "The list omits startup code.",
	}, s.listSessions)
	register(api, huma.Operation{
		OperationID: "get-session", Method: http.MethodGet, Path: "/v1/sessions/{id}", Tags: []string{tagSessions},
		Summary: "Get a session",
	}, s.getSession)
	register(api, huma.Operation{
		OperationID: "delete-session", Method: http.MethodDelete, Path: "/v1/sessions/{id}", DefaultStatus: http.StatusNoContent, Tags: []string{tagSessions},
		Summary:     "End a session",
		Description: "Ends a running cell, destroys the sandbox, and deletes the session's cells and events.",
	}, s.deleteSession)
	register(api, huma.Operation{
		OperationID: "set-deadline", Method: http.MethodPut, Path: "/v1/sessions/{id}/deadline", Tags: []string{tagSessions},
		Summary:     "Set the deadline of a session",
		Description: "At the deadline the session ends or hibernates, even if it is used. A deadline replaces the end of idle sessions. If a cell, command or transfer is running at the deadline, the session hibernates as soon as it is done.",
	}, s.setDeadline)
	register(api, huma.Operation{
		OperationID: "interrupt", Method: http.MethodPost, Path: "/v1/sessions/{id}/interrupt", DefaultStatus: http.StatusNoContent, Tags: []string{tagSessions},
		Summary:     "Interrupt the running cell",
		Description: "The kernel keeps its variables. If no cell runs, the request does nothing. If the parameter cell is set, only that cell is interrupted.",
	}, s.interrupt)
	register(api, huma.Operation{
		OperationID: "restart", Method: http.MethodPost, Path: "/v1/sessions/{id}/restart", Tags: []string{tagSessions},
		Summary:     "Restart a kernel",
		Description: "Variables are lost, files stay, and the startup code runs again. A dead kernel can be restarted too. The answer comes when the new kernel is idle.",
	}, s.restart)
}

func (s *Server) createSession(ctx context.Context, in *createInput) (*createOutput, error) {
	body := in.Body
	if body == nil {
		body = &CreateSession{}
	}
	var deadline *terms.Deadline
	if body.Lifetime > 0 || body.AtDeadline != "" {
		deadline = &terms.Deadline{Lifetime: seconds(body.Lifetime), Action: body.AtDeadline}
	}
	sess, err := s.sessions.Create(ctx, registry.CreateRequest{
		Process: terms.Process{Env: body.Env, Dir: body.Dir, Resume: body.Resume}, Deadline: deadline, Key: in.Key,
		Owner: exchange.Caller(ctx), User: body.User, Template: body.Template, Image: body.Image, Startup: body.Startup, Figures: body.Figures,
		Limits: body.Limits, Egress: body.Egress, Secrets: body.Secrets, Meta: body.Metadata, PublicPorts: body.PublicPorts,
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	info := complete(sess.Info())
	return &createOutput{Location: "/v1/sessions/" + string(info.ID), Body: info}, nil
}

func (s *Server) setDeadline(ctx context.Context, in *deadlineInput) (*sessionOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	if err := sess.SetDeadline(ctx, terms.Deadline{Lifetime: seconds(in.Body.Lifetime), Action: in.Body.AtDeadline}); err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: complete(sess.Info())}, nil
}

func (s *Server) listSessions(ctx context.Context, _ *struct{}) (*sessionsOutput, error) {
	list := SessionList{Sessions: []cellhold.Session{}}
	for _, info := range s.sessions.List(exchange.Caller(ctx)) {
		list.Sessions = append(list.Sessions, complete(info))
	}
	return &sessionsOutput{Body: list}, nil
}

func (s *Server) getSession(ctx context.Context, in *SessionPath) (*sessionOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: complete(sess.Info())}, nil
}

func (s *Server) deleteSession(ctx context.Context, in *SessionPath) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	if err := sess.End(acting); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}

type interruptInput struct {
	SessionPath
	KernelQuery
	Cell cellhold.CellID `query:"cell" maxLength:"40" doc:"Interrupt only this cell, if it runs. Absent means the running cell." example:"cq7h2w9d4kx5n3vtb"`
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
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	if err := sess.Restart(acting, in.Kernel); err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: complete(sess.Info())}, nil
}

// complete replaces absent lists with empty ones, so that clients can loop over them without a check.
func complete(info cellhold.Session) cellhold.Session {
	if info.Kernels == nil {
		info.Kernels = []cellhold.Kernel{}
	}
	if info.Egress.Policy == "" {
		info.Egress.Policy = cellhold.EgressNone
	}
	return info
}
