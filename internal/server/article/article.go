// Package article serves the small API that this project grew from: one session a user, addressed
// by a label, and answers as text.
//
// It refuses to be more than that API was: what goes beyond it is under /v1. Its shapes are
// FastAPI's, so its handlers are plain and it describes itself to the document of the server.
package article

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"cellhold"
	"cellhold/internal/lazy"
	"cellhold/internal/notebook"
	"cellhold/internal/registry"
	"cellhold/internal/server/door"
	"cellhold/internal/server/fastapi"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
)

// imports runs in the sessions of the article's API: its users expect pd, np and plt to be
// there. Each import stands alone, so that an image without one of the packages keeps the others.
const imports = `try:
    import numpy as np
except ImportError:
    pass
try:
    import pandas as pd
except ImportError:
    pass
try:
    import matplotlib.pyplot as plt
except ImportError:
    pass
`

// userField is the user_id of all routes. It may hold any text, slashes and dots included,
// because it is a label and never used as a path.
var userField = fastapi.Field{Name: "user_id", Min: 1, Max: 256}

// The sentences of the article's API. Its clients compare some of them.
const (
	noSession = "Session not found. Please start a new session."
	timedOut  = "Code execution timed out"
	failed    = "Execution error"
	resetHint = " Call /reset to start a new kernel; its variables are lost."
)

// ArticleMessage is the answer of the routes that start, reset and end. Its name, as those below,
// says what it belongs to, because the document has one space of names for all types.
type ArticleMessage struct {
	Message  string `json:"message" example:"Session started successfully"`
	Notebook string `json:"notebook_path,omitempty" doc:"Where the server keeps the session's notebook (start_session)."`
}

// ArticleReply is the answer to code that ran.
type ArticleReply struct {
	Output  string            `json:"output" doc:"Stream text and the text/plain of results and displays, joined by newlines." example:"x = 42"`
	Outputs []cellhold.Output `json:"outputs" doc:"The same in full, in notebook form."`
	Plots   []notebook.Plot   `json:"plots" doc:"The images among the outputs."`
}

// ArticleFailure is the answer to code that raised, or whose kernel died.
type ArticleFailure struct {
	Detail ArticleTraceback `json:"detail"`
}

// ArticleTraceback says how code failed.
type ArticleTraceback struct {
	Error     string   `json:"error" example:"Execution error"`
	Traceback []string `json:"traceback" doc:"The traceback's lines; when the kernel died, one sentence with the cause."`
}

// ArticleDetail is the answer to everything else that went wrong.
type ArticleDetail struct {
	Detail string `json:"detail" example:"Session not found. Please start a new session."`
}

// Options is what the API needs of the server around it; all are required.
type Options struct {
	Sessions *registry.Registry
	Waiters  *door.Waiters
	Logger   *slog.Logger
}

// Routes takes routes, as http.ServeMux does.
type Routes interface {
	HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request))
}

// routes is the API at work.
type routes struct {
	sessions *registry.Registry
	waiters  *door.Waiters
	log      *slog.Logger
}

// Register adds the routes, and what they are to the document of api.
func Register(m Routes, api huma.API, o Options) {
	s := &routes{sessions: o.Sessions, waiters: o.Waiters, log: o.Logger}
	m.HandleFunc("POST /start_session", s.form(s.start))
	m.HandleFunc("POST /reset", s.form(s.resetKernel))
	m.HandleFunc("POST /end_session", s.form(s.end))
	m.HandleFunc("POST /execute", s.execute)
	m.HandleFunc("POST /install_package", s.install)
	describe(api)
}

// form surrounds the handlers that take a form with a user.
func (s *routes) form(act func(ctx context.Context, owner, user string) (ArticleMessage, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, refused := fastapi.FormField(r, userField)
		if refused != nil {
			writeRefusal(w, refused)
			return
		}
		message, err := act(r.Context(), door.Caller(r.Context()), user)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		door.WriteJSON(w, http.StatusOK, "application/json", message)
	}
}

func (s *routes) start(ctx context.Context, owner, user string) (ArticleMessage, error) {
	sess, err := s.sessions.Replace(ctx, registry.CreateRequest{
		Owner: owner, User: user, Startup: imports, Article: true,
	})
	if err != nil {
		return ArticleMessage{}, err
	}
	return ArticleMessage{Message: "Session started successfully", Notebook: sess.HostFiles().NotebookPath()}, nil
}

func (s *routes) resetKernel(ctx context.Context, owner, user string) (ArticleMessage, error) {
	sess, err := s.sessions.Article(owner, user)
	if err != nil {
		return ArticleMessage{}, err
	}
	acting, cancel := door.Act(ctx)
	defer cancel()
	if err := sess.Restart(acting, ""); err != nil {
		return ArticleMessage{}, err
	}
	return ArticleMessage{Message: "Kernel reset successful"}, nil
}

func (s *routes) end(ctx context.Context, owner, user string) (ArticleMessage, error) {
	sess, err := s.sessions.Article(owner, user)
	if err != nil {
		return ArticleMessage{}, err
	}
	acting, cancel := door.Act(ctx)
	defer cancel()
	if err := sess.End(acting); err != nil {
		return ArticleMessage{}, err
	}
	return ArticleMessage{Message: "Session ended successfully"}, nil
}

func (s *routes) execute(w http.ResponseWriter, r *http.Request) {
	fields, refused := fastapi.JSONFields(r, userField, fastapi.Field{Name: "code"})
	if refused != nil {
		writeRefusal(w, refused)
		return
	}
	user, code := fields[0], fields[1]
	if len(code) > door.MaxCode {
		writeDetail(w, http.StatusRequestEntityTooLarge, door.TooLarge)
		return
	}
	sess, err := s.sessions.Article(door.Caller(r.Context()), user)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	cell, err := sess.Execute(r.Context(), session.ExecuteRequest{Code: code})
	if err != nil {
		s.refusedCell(w, r, sess, err)
		return
	}
	// The cell's own deadline bounds the wait. The client's leaving ends the wait only.
	waiting, leave := s.waiters.Enter(r.Context())
	defer leave()
	if cell, err = sess.History().WaitCell(waiting, cell.ID); err != nil && context.Cause(waiting) == door.ErrAway {
		err = cellhold.Errorf(cellhold.Unavailable, "The server is shutting down. The code goes on running; its outputs will be in the notebook.")
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// A full disk must not hide what the code has put out.
	if err := sess.HostFiles().FlushNotebook(r.Context()); err != nil && r.Context().Err() == nil {
		s.log.Error("notebook not written", "session", cell.Session, "error", err)
	}
	writeCell(w, cell)
}

// writeCell answers with a cell that is done.
func writeCell(w http.ResponseWriter, cell cellhold.Cell) {
	switch {
	case cell.Status == cellhold.StatusOK:
		reply := ArticleReply{Output: notebook.Text(cell.Outputs), Outputs: cell.Outputs, Plots: notebook.Plots(cell.Outputs)}
		if reply.Outputs == nil {
			reply.Outputs = []cellhold.Output{}
		}
		if reply.Plots == nil {
			reply.Plots = []notebook.Plot{}
		}
		door.WriteJSON(w, http.StatusOK, "application/json", reply)
	case cell.Status == cellhold.StatusTimeout:
		writeDetail(w, http.StatusRequestTimeout, timedOut)
	case cell.Status == cellhold.StatusCancelled:
		writeDetail(w, http.StatusConflict, "The code did not run: "+causeOf(cell))
	default:
		door.WriteJSON(w, http.StatusBadRequest, "application/json", ArticleFailure{ArticleTraceback{failed, traceback(cell)}})
	}
}

// ansi are the colours in tracebacks. The article's clients hand the lines to language models
// and logs, which colours only disturb.
var ansi = lazy.Regexp("\x1b\\[[0-9;]*m")

// traceback returns the lines of the cell's exception. Where there is none, because the kernel
// died or was interrupted before it could raise, one sentence says so.
func traceback(cell cellhold.Cell) []string {
	if cell.Status.Died() {
		return []string{causeOf(cell) + resetHint}
	}
	for i := len(cell.Outputs) - 1; i >= 0; i-- {
		if o := cell.Outputs[i]; o.Type == cellhold.EventError {
			lines := make([]string, 0, len(o.Traceback)+1)
			for _, line := range o.Traceback {
				lines = append(lines, ansi().ReplaceAllString(line, ""))
			}
			if len(lines) == 0 {
				lines = append(lines, o.Exception())
			}
			return lines
		}
	}
	return []string{causeOf(cell)}
}

// causeOf says in one sentence how a cell ended.
func causeOf(cell cellhold.Cell) string {
	if cell.Cause != "" {
		return cell.Cause
	}
	switch cell.Status {
	case cellhold.StatusOOM:
		return "The kernel ran out of memory."
	case cellhold.StatusSignal:
		return "A signal ended the kernel."
	case cellhold.StatusExit:
		return "The kernel exited."
	case cellhold.StatusLost:
		return "The sandbox is gone."
	case cellhold.StatusInterrupted:
		return "The code was interrupted."
	case cellhold.StatusCancelled:
		return "It was cancelled before its turn."
	}
	return fmt.Sprintf("The code ended with the status %q.", cell.Status)
}

// refusedCell answers when a cell was not accepted: a dead kernel is told with its cure.
func (s *routes) refusedCell(w http.ResponseWriter, r *http.Request, sess *session.Session, err error) {
	kernels := sess.Info().Kernels
	if cellhold.KindOf(err) == cellhold.Conflict && len(kernels) > 0 && kernels[0].State == cellhold.KernelDead {
		writeDetail(w, http.StatusConflict, "The kernel of this session is dead."+resetHint)
		return
	}
	s.fail(w, r, err)
}

// fail answers with an error of ours in FastAPI's shape.
func (s *routes) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := door.ProblemOf(r.Context(), s.log, err)
	if p.Kind == cellhold.NotFound {
		p.Detail = noSession
	}
	writeDetail(w, p.Status, p.Detail)
}

func writeRefusal(w http.ResponseWriter, r *fastapi.Refusal) {
	if r.Status == http.StatusRequestEntityTooLarge {
		r.Detail = door.TooLarge
	}
	door.WriteJSON(w, r.Status, "application/json", r.Body())
}

func writeDetail(w http.ResponseWriter, status int, detail string) {
	door.WriteJSON(w, status, "application/json", ArticleDetail{detail})
}
