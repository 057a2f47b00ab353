// Package article serves the small API of the article that this project started with. Each user has one
// session, named by a label, and answers are text.
//
// It does no more than the article's API did; all other features are under /v1. The forms, answers and errors of
// this API are those of FastAPI. So its handlers do not use huma, and the package itself adds their description to
// the server's document.
package article

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"cellhold"
	"cellhold/internal/lazy"
	"cellhold/internal/notebook"
	"cellhold/internal/outputs"
	"cellhold/internal/registry"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/fastapi"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
)

// imports runs in the sessions of the article's API, because its users expect pd, np and plt. Each import has
// its own try, so that an image without one package still has the others.
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

// userField is the user_id of all routes. It can be any text, including slashes and dots, because it is a
// label and never used as a path.
var userField = fastapi.Field{Name: "user_id", Min: 1, Max: 256}

// The messages of the article's API. Its clients compare some of them.
const (
	noSession = "Session not found. Please start a new session."
	timedOut  = "Code execution timed out"
	failed    = "Execution error"
	resetHint = " Call /reset to start a new kernel; its variables are lost."
)

// ArticleMessage is the answer of the routes that start, reset and end a session. Its name starts with
// Article, because all types of the document share one namespace.
type ArticleMessage struct {
	Message  string `json:"message" example:"Session started successfully"`
	Notebook string `json:"notebook_path,omitempty" doc:"Path of the session's notebook on the server (start_session)."`
}

// ArticleReply is the answer to code that ran.
type ArticleReply struct {
	Output  string            `json:"output" doc:"Text of the streams, and text/plain of results and displays, joined with newlines." example:"x = 42"`
	Outputs []cellhold.Output `json:"outputs" doc:"All outputs in notebook form."`
	Plots   []notebook.Plot   `json:"plots" doc:"Images in the outputs."`
}

// ArticleFailure is the answer if the code raised an exception, or its kernel died.
type ArticleFailure struct {
	Detail ArticleTraceback `json:"detail"`
}

// ArticleTraceback is the reason of a failure.
type ArticleTraceback struct {
	Error     string   `json:"error" example:"Execution error"`
	Traceback []string `json:"traceback" doc:"Lines of the traceback. If the kernel died, one sentence with the cause."`
}

// ArticleDetail is the answer of all errors that are neither an ArticleFailure nor an ArticleInvalid.
type ArticleDetail struct {
	Detail string `json:"detail" example:"Session not found. Please start a new session."`
}

// Options configures the API. All fields are required.
type Options struct {
	Sessions *registry.Registry
	Waiters  *exchange.Waiters
	Logger   *slog.Logger
}

// Routes registers routes, like http.ServeMux.
type Routes interface {
	HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request))
}

// routes has the handlers of the API.
type routes struct {
	sessions *registry.Registry
	waiters  *exchange.Waiters
	log      *slog.Logger
}

// Register adds the routes to m and their description to api.
func Register(m Routes, api huma.API, o Options) {
	s := &routes{sessions: o.Sessions, waiters: o.Waiters, log: o.Logger}
	m.HandleFunc("POST /start_session", s.form(s.start))
	m.HandleFunc("POST /reset", s.form(s.resetKernel))
	m.HandleFunc("POST /end_session", s.form(s.end))
	m.HandleFunc("POST /execute", s.execute)
	m.HandleFunc("POST /install_package", s.install)
	describe(api)
}

// form returns a handler that reads user_id from a form, calls act with it, and answers with the result.
func (s *routes) form(act func(ctx context.Context, owner, user string) (ArticleMessage, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, refused := fastapi.FormField(r, userField)
		if refused != nil {
			writeRefusal(w, refused)
			return
		}
		message, err := act(r.Context(), exchange.Caller(r.Context()), user)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		exchange.WriteJSON(w, http.StatusOK, "application/json", message)
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
	sess, err := s.sessions.Article(ctx, owner, user)
	if err != nil {
		return ArticleMessage{}, err
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	if err := sess.Restart(acting, ""); err != nil {
		return ArticleMessage{}, err
	}
	return ArticleMessage{Message: "Kernel reset successful"}, nil
}

func (s *routes) end(ctx context.Context, owner, user string) (ArticleMessage, error) {
	sess, err := s.sessions.Article(ctx, owner, user)
	if err != nil {
		return ArticleMessage{}, err
	}
	acting, cancel := exchange.Act(ctx)
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
	if len(code) > exchange.MaxCode {
		writeDetail(w, http.StatusRequestEntityTooLarge, exchange.TooLarge)
		return
	}
	sess, err := s.sessions.Article(r.Context(), exchange.Caller(r.Context()), user)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	cell, err := sess.Execute(r.Context(), session.ExecuteRequest{Code: code})
	if err != nil {
		s.refusedCell(w, r, sess, err)
		return
	}
	// The cell's timeout limits the wait. If the client leaves, only the wait ends.
	waiting, leave := s.waiters.Enter(r.Context())
	defer leave()
	if _, _, err = sess.History().AwaitCell(waiting, cell.ID); err != nil && context.Cause(waiting) == exchange.ErrAway {
		err = cellhold.Errorf(cellhold.Unavailable, "The server is shutting down. The code continues; its outputs will be in the notebook.")
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// An error of the notebook file, such as a full disk, must not hide the outputs.
	if err := sess.HostFiles().FlushNotebook(r.Context()); err != nil && r.Context().Err() == nil {
		s.log.Error("notebook not written", "session", cell.Session, "error", err)
	}
	if err := sess.History().UseCell(r.Context(), cell.ID, func(c cellhold.Cell) { writeCell(w, c) }); err != nil {
		s.fail(w, r, err)
	}
}

// writeCell answers with a cell that is done.
func writeCell(w http.ResponseWriter, cell cellhold.Cell) {
	defer exchange.Steady(w)()
	switch {
	case cell.Status == cellhold.StatusOK:
		if writeReply(w, cell.Outputs) != nil {
			panic(http.ErrAbortHandler) // the reader left, or must not take a part for the whole answer
		}
	case cell.Status == cellhold.StatusTimeout:
		writeDetail(w, http.StatusRequestTimeout, timedOut)
	case cell.Status == cellhold.StatusCancelled:
		writeDetail(w, http.StatusConflict, "The code did not run: "+causeOf(cell))
	default:
		exchange.WriteJSON(w, http.StatusBadRequest, "application/json", ArticleFailure{ArticleTraceback{failed, traceback(cell)}})
	}
}

// writeReply writes an ArticleReply one output at a time, because the outputs can have 32 MiB.
func writeReply(w http.ResponseWriter, list []cellhold.Output) error {
	w.Header().Set("Content-Type", "application/json")
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_, _ = b.WriteString(`{"output":`) // Flush returns the error
	err := enc.Encode(notebook.Text(list))
	_, _ = b.WriteString(`,"outputs":`)
	err = cmp.Or(err, outputs.WriteList(b, list))
	_, _ = b.WriteString(`,"plots":`)
	err = cmp.Or(err, enc.Encode(notebook.Plots(list)))
	_, _ = b.WriteString("}\n")
	return cmp.Or(err, b.Flush())
}

// ansi matches the colours in tracebacks. The article's clients pass the lines to language models and logs,
// which need no colours.
var ansi = lazy.Regexp("\x1b\\[[0-9;]*m")

// traceback returns the lines of the cell's exception. If the kernel died or was interrupted without an
// exception, it returns one sentence.
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

// causeOf returns one sentence with the cause of a cell's end.
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
		return "The code was cancelled while it was queued."
	}
	return fmt.Sprintf("The code ended with the status %q.", cell.Status)
}

// refusedCell answers when a cell was not accepted. If the kernel is dead, the message says how to restart
// it.
func (s *routes) refusedCell(w http.ResponseWriter, r *http.Request, sess *session.Session, err error) {
	kernels := sess.Info().Kernels
	if cellhold.KindOf(err) == cellhold.Conflict && len(kernels) > 0 && kernels[0].State == cellhold.KernelDead {
		writeDetail(w, http.StatusConflict, "The kernel of this session is dead."+resetHint)
		return
	}
	s.fail(w, r, err)
}

// fail answers with an error in FastAPI's shape.
func (s *routes) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := exchange.ProblemOf(r.Context(), s.log, err)
	if p.Kind == cellhold.NotFound {
		p.Detail = noSession
	}
	writeDetail(w, p.Status, p.Detail)
}

func writeRefusal(w http.ResponseWriter, r *fastapi.Refusal) {
	if r.Status == http.StatusRequestEntityTooLarge {
		r.Detail = exchange.TooLarge
	}
	exchange.WriteJSON(w, r.Status, "application/json", r.Body())
}

func writeDetail(w http.ResponseWriter, status int, detail string) {
	exchange.WriteJSON(w, status, "application/json", ArticleDetail{detail})
}
