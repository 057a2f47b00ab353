package jupyter

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// sessionModel is a session as Jupyter shows it.
type sessionModel struct {
	ID       string         `json:"id"`
	Path     string         `json:"path"`
	Name     string         `json:"name"`
	Type     string         `json:"type"`
	Kernel   kernelModel    `json:"kernel"`
	Notebook *notebookModel `json:"notebook,omitempty"`
}

// notebookModel is the older form of a path. Clients of the older form send it too.
type notebookModel struct {
	Path string `json:"path"`
	Name string `json:"name"`
}

// entry is a note with its kernel.
type entry struct {
	note
	kernel
}

func (s *Server) sessionModel(e entry) sessionModel {
	m := sessionModel{ID: e.note.ID, Path: e.Path, Name: e.title(), Type: e.Type, Kernel: s.model(e.kernel)}
	if e.Type == "notebook" {
		m.Notebook = &notebookModel{Path: e.Path, Name: e.title()}
	}
	return m
}

// entries returns the sessions of Jupyter that a caller has.
func (s *Server) entries(ctx context.Context, caller string) []entry {
	var list []entry
	for _, k := range s.kernels(ctx, caller) {
		for _, n := range notesOf(k) {
			list = append(list, entry{n, k})
		}
	}
	return list
}

// entry returns the session of a request.
func (s *Server) entry(r *http.Request, caller string) (entry, error) {
	for _, e := range s.entries(r.Context(), caller) {
		if e.note.ID == r.PathValue("id") {
			return e, nil
		}
	}
	return entry{}, cellhold.Errorf(cellhold.NotFound, "Session not found.")
}

func (s *Server) listSessions(w http.ResponseWriter, r *http.Request, caller string) error {
	models := []sessionModel{}
	for _, e := range s.entries(r.Context(), caller) {
		models = append(models, s.sessionModel(e))
	}
	write(w, http.StatusOK, models)
	return nil
}

func (s *Server) getSession(w http.ResponseWriter, r *http.Request, caller string) error {
	e, err := s.entry(r, caller)
	if err != nil {
		return err
	}
	write(w, http.StatusOK, s.sessionModel(e))
	return nil
}

// sessionRequest is the body of a request for a session, or for a change of one.
type sessionRequest struct {
	Path     string         `json:"path"`
	Name     *string        `json:"name"`
	Type     string         `json:"type"`
	Notebook *notebookModel `json:"notebook"`
	Kernel   struct {
		ID   string            `json:"id"`
		Name string            `json:"name"`
		Env  map[string]string `json:"env"`
	} `json:"kernel"`
}

// older reads the older form of a path.
func (q *sessionRequest) older() {
	if q.Notebook != nil {
		q.Path, q.Type = cmp.Or(q.Path, q.Notebook.Path), cmp.Or(q.Type, "notebook")
	}
}

func (s *Server) startSession(w http.ResponseWriter, r *http.Request, caller string) error {
	var q sessionRequest
	if err := exchange.DecodeJSON(r, &q); err != nil {
		return err
	}
	q.older()
	switch {
	case q.Path == "":
		return cellhold.Errorf(cellhold.Invalid, "Missing field in JSON data: path")
	case q.Type == "":
		return cellhold.Errorf(cellhold.Invalid, "Missing field in JSON data: type")
	}
	ctx, cancel := exchange.Act(r.Context())
	defer cancel()
	leave, err := s.opening.Hold(ctx, caller+"\x00"+q.Path) // two requests for one path must give one session
	if err != nil {
		return err
	}
	defer leave()
	e, err := s.openSession(ctx, caller, q)
	if err != nil {
		return err
	}
	w.Header().Set("Location", prefixOf(r)+"/api/sessions/"+e.note.ID)
	write(w, http.StatusCreated, s.sessionModel(e))
	return nil
}

// openSession returns the session of a path. If there is no such session, it creates one.
func (s *Server) openSession(ctx context.Context, caller string, q sessionRequest) (entry, error) {
	for _, e := range s.entries(ctx, caller) {
		if e.Path == q.Path {
			return e, nil
		}
	}
	n := note{ID: newUUID(), Path: q.Path, Type: q.Type}
	if q.Name != nil {
		n.rename(*q.Name)
	}
	if q.Kernel.ID != "" {
		return s.bind(ctx, caller, q.Kernel.ID, n)
	}
	return s.startFor(ctx, caller, newKernel{Name: q.Kernel.Name, Env: q.Kernel.Env}, n)
}

// newUUID returns a random UUID.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never returns an error: it ends the program instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// startFor starts a kernel for a note. The status of an unknown kernelspec is 501, because clients expect this status.
func (s *Server) startFor(ctx context.Context, caller string, q newKernel, n note) (entry, error) {
	_, err := s.find(q.Name)
	if cellhold.KindOf(err) == cellhold.NotFound {
		return entry{}, cellhold.Wrap(cellhold.Unsupported, err, "No such kernel named %.100q. GET /api/kernelspecs lists the names.", q.Name)
	}
	if err != nil {
		return entry{}, err
	}
	n.Kernel = "" // the first one
	text, err := formatNotes([]note{n})
	if err != nil {
		return entry{}, err
	}
	k, err := s.start(ctx, caller, q, text)
	return entry{n, k}, err
}

// bind adds a note to a kernel that exists, or replaces the note there.
func (s *Server) bind(ctx context.Context, caller, id string, n note) (entry, error) {
	done, err := s.binding.Hold(ctx, id)
	if err != nil {
		return entry{}, err
	}
	defer done()
	k, of, err := s.kernelByID(ctx, caller, id)
	if err != nil {
		return entry{}, err
	}
	n.Kernel = k.state.ID
	return entry{n, k}, change(ctx, of, func(list []note) []note { return put(list, n) })
}

// change changes the notes of a session.
func change(ctx context.Context, of *session.Session, f func([]note) []note) error {
	return session.SetNote(ctx, of, noteName, func(old string) (string, error) { return formatNotes(f(parseNotes(old))) })
}

// patchSession renames a session, or gives it another kernel. The old kernel then ends, as in Jupyter Server.
func (s *Server) patchSession(w http.ResponseWriter, r *http.Request, caller string) error {
	e, err := s.entry(r, caller)
	if err != nil {
		return err
	}
	var q sessionRequest
	if err := exchange.DecodeJSON(r, &q); err != nil {
		return err
	}
	q.older()
	n := e.note
	n.Path, n.Type = cmp.Or(q.Path, n.Path), cmp.Or(q.Type, n.Type)
	if q.Name != nil {
		n.rename(*q.Name)
	} else if q.Path != "" {
		n.Name = nil
	}
	ctx, cancel := exchange.Act(r.Context())
	defer cancel()
	if e, err = s.move(ctx, caller, e, n, q); err != nil {
		return err
	}
	write(w, http.StatusOK, s.sessionModel(e))
	return nil
}

// move stores a changed note at its kernel, or at another one.
func (s *Server) move(ctx context.Context, caller string, e entry, n note, q sessionRequest) (entry, error) {
	var to entry
	var err error
	switch {
	case q.Kernel.ID != "" && q.Kernel.ID != e.kernel.id:
		to, err = s.bind(ctx, caller, q.Kernel.ID, n)
	case q.Kernel.ID == "" && q.Kernel.Name != "":
		to, err = s.startFor(ctx, caller, newKernel{Name: q.Kernel.Name, Env: q.Kernel.Env}, n)
	default:
		return s.bind(ctx, caller, e.kernel.id, n)
	}
	if err != nil {
		return entry{}, err
	}
	return to, s.leave(ctx, caller, e)
}

// leave removes a note, and ends its kernel if no other note uses the kernel. No other call can add a note at this
// time.
func (s *Server) leave(ctx context.Context, caller string, e entry) error {
	done, err := s.binding.Hold(ctx, e.kernel.id)
	if err != nil {
		return err
	}
	defer done()
	k, of, err := s.kernelByID(ctx, caller, e.kernel.id)
	if cellhold.KindOf(err) == cellhold.NotFound {
		return nil // the kernel ended
	}
	if err != nil {
		return err
	}
	if len(drop(notesOf(k), e.note.ID)) == 0 {
		return shutDown(ctx, of, k)
	}
	return change(ctx, of, func(list []note) []note { return drop(list, e.note.ID) })
}

// deleteSession removes a session, and ends its kernel if no other session uses the kernel.
func (s *Server) deleteSession(w http.ResponseWriter, r *http.Request, caller string) error {
	e, err := s.entry(r, caller)
	if err != nil {
		return err
	}
	ctx, cancel := exchange.Act(r.Context())
	defer cancel()
	if err := s.leave(ctx, caller, e); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
