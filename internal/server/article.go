package server

import (
	"context"
	"fmt"
	"net/http"
	"regexp"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/server/fastapi"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
)

// articleImports runs in the sessions of the article's API: its users expect pd, np and plt to be
// there. Each import stands alone, so that an image without one of the packages keeps the others.
const articleImports = `try:
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
	articleNoSession = "Session not found. Please start a new session."
	articleTimeout   = "Code execution timed out"
	articleFailed    = "Execution error"
	articleNoInstall = "Installing packages is not supported by this server yet. The image already has numpy, pandas, matplotlib, scipy, seaborn and scikit-learn."
	articleReset     = " Call /reset to start a new kernel; its variables are lost."
)

// ArticleMessage is the answer of the routes that start, reset and end.
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

// article registers the article's API. Its handlers are plain, because its shapes are FastAPI's.
func (s *Server) article(m *table, api huma.API) {
	m.HandleFunc("POST /start_session", s.articleForm(s.articleStart))
	m.HandleFunc("POST /reset", s.articleForm(s.articleResetKernel))
	m.HandleFunc("POST /end_session", s.articleForm(s.articleEnd))
	m.HandleFunc("POST /execute", s.articleExecute)
	m.HandleFunc("POST /install_package", func(w http.ResponseWriter, _ *http.Request) {
		writeDetail(w, http.StatusNotImplemented, articleNoInstall)
	})
	describeArticle(api)
}

// articleForm surrounds the handlers that take a form with a user.
func (s *Server) articleForm(act func(ctx context.Context, owner, user string) (ArticleMessage, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, refused := fastapi.FormField(r, userField)
		if refused != nil {
			writeRefusal(w, refused)
			return
		}
		message, err := act(r.Context(), callOf(r.Context()).caller, user)
		if err != nil {
			s.articleError(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, "application/json", message)
	}
}

func (s *Server) articleStart(ctx context.Context, owner, user string) (ArticleMessage, error) {
	sess, err := s.sessions.Replace(ctx, session.CreateRequest{
		Owner: owner, User: user, Startup: articleImports, Article: true,
	})
	if err != nil {
		return ArticleMessage{}, err
	}
	return ArticleMessage{Message: "Session started successfully", Notebook: sess.NotebookPath()}, nil
}

func (s *Server) articleResetKernel(ctx context.Context, owner, user string) (ArticleMessage, error) {
	sess, err := s.sessions.Article(owner, user)
	if err != nil {
		return ArticleMessage{}, err
	}
	acting, cancel := act(ctx)
	defer cancel()
	if err := sess.Restart(acting, ""); err != nil {
		return ArticleMessage{}, err
	}
	return ArticleMessage{Message: "Kernel reset successful"}, nil
}

func (s *Server) articleEnd(ctx context.Context, owner, user string) (ArticleMessage, error) {
	sess, err := s.sessions.Article(owner, user)
	if err != nil {
		return ArticleMessage{}, err
	}
	acting, cancel := act(ctx)
	defer cancel()
	if err := sess.End(acting); err != nil {
		return ArticleMessage{}, err
	}
	return ArticleMessage{Message: "Session ended successfully"}, nil
}

func (s *Server) articleExecute(w http.ResponseWriter, r *http.Request) {
	fields, refused := fastapi.JSONFields(r, userField, fastapi.Field{Name: "code"})
	if refused != nil {
		writeRefusal(w, refused)
		return
	}
	user, code := fields[0], fields[1]
	if len(code) > maxCode {
		writeDetail(w, http.StatusRequestEntityTooLarge, tooLarge)
		return
	}
	sess, err := s.sessions.Article(callOf(r.Context()).caller, user)
	if err != nil {
		s.articleError(w, r, err)
		return
	}
	cell, err := sess.Execute(r.Context(), session.ExecuteRequest{Code: code})
	if err != nil {
		s.articleRefusedCell(w, r, sess, err)
		return
	}
	// The cell's own deadline bounds the wait. The client's leaving ends the wait only.
	waiting, leave := s.waiters.enter(r.Context())
	defer leave()
	if cell, err = sess.Wait(waiting, cell.ID); err != nil && context.Cause(waiting) == errAway {
		err = cellhold.Errorf(cellhold.Unavailable, "The server is shutting down. The code goes on running; its outputs will be in the notebook.")
	}
	if err != nil {
		s.articleError(w, r, err)
		return
	}
	// A full disk must not hide what the code has put out.
	if err := sess.FlushNotebook(r.Context()); err != nil && r.Context().Err() == nil {
		s.log.Error("notebook not written", "session", cell.Session, "error", err)
	}
	writeArticleCell(w, cell)
}

// writeArticleCell answers with a cell that is done.
func writeArticleCell(w http.ResponseWriter, cell cellhold.Cell) {
	switch {
	case cell.Status == cellhold.StatusOK:
		reply := ArticleReply{Output: notebook.Text(cell.Outputs), Outputs: wholeCell(cell).Outputs, Plots: notebook.Plots(cell.Outputs)}
		if reply.Plots == nil {
			reply.Plots = []notebook.Plot{}
		}
		writeJSON(w, http.StatusOK, "application/json", reply)
	case cell.Status == cellhold.StatusTimeout:
		writeDetail(w, http.StatusRequestTimeout, articleTimeout)
	case cell.Status == cellhold.StatusCancelled:
		writeDetail(w, http.StatusConflict, "The code did not run: "+causeOf(cell))
	default:
		writeJSON(w, http.StatusBadRequest, "application/json", ArticleFailure{ArticleTraceback{articleFailed, traceback(cell)}})
	}
}

// ansi are the colours in tracebacks. The article's clients hand the lines to language models
// and logs, which colours only disturb.
var ansi = regexp.MustCompile("\x1b\\[[0-9;]*m")

// traceback returns the lines of the cell's exception. Where there is none, because the kernel
// died or was interrupted before it could raise, one sentence says so.
func traceback(cell cellhold.Cell) []string {
	if cell.Status.Died() {
		return []string{causeOf(cell) + articleReset}
	}
	for i := len(cell.Outputs) - 1; i >= 0; i-- {
		if o := cell.Outputs[i]; o.Type == cellhold.EventError {
			lines := make([]string, 0, len(o.Traceback)+1)
			for _, line := range o.Traceback {
				lines = append(lines, ansi.ReplaceAllString(line, ""))
			}
			if len(lines) == 0 {
				lines = append(lines, o.ErrorName+": "+o.ErrorValue)
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

// articleRefusedCell answers when a cell was not accepted: a dead kernel is told with its cure.
func (s *Server) articleRefusedCell(w http.ResponseWriter, r *http.Request, sess *session.Session, err error) {
	kernels := sess.Info().Kernels
	if cellhold.KindOf(err) == cellhold.Conflict && len(kernels) > 0 && kernels[0].State == cellhold.KernelDead {
		writeDetail(w, http.StatusConflict, "The kernel of this session is dead."+articleReset)
		return
	}
	s.articleError(w, r, err)
}

// articleError answers with an error of ours in FastAPI's shape.
func (s *Server) articleError(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(r.Context(), err)
	if p.Kind == cellhold.NotFound {
		p.Detail = articleNoSession
	}
	writeDetail(w, p.Status, p.Detail)
}

func writeRefusal(w http.ResponseWriter, r *fastapi.Refusal) {
	if r.Status == http.StatusRequestEntityTooLarge {
		r.Detail = tooLarge
	}
	writeJSON(w, r.Status, "application/json", r.Body())
}

func writeDetail(w http.ResponseWriter, status int, detail string) {
	writeJSON(w, status, "application/json", ArticleDetail{detail})
}
