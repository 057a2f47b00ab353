package jupyter

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
)

// kernel is a kernel of a session that Jupyter's clients see.
type kernel struct {
	id    string // a UUID
	name  string // of its kernelspec
	info  cellhold.Session
	state cellhold.Kernel
}

// uuidOf returns the id of a kernel for Jupyter's clients, which expect a UUID. The id is computed from the ids of the
// session and the kernel, so it survives restarts and hibernation.
func uuidOf(s cellhold.SessionID, k cellhold.KernelID) string {
	sum := sha256.Sum256([]byte("cellhold jupyter kernel\x00" + string(s) + "\x00" + string(k)))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // version 8: the bits have no further meaning
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// noteName is the entry of a session's metadata that shows the session to Jupyter's clients. Other sessions stay hidden,
// because a client can offer to shut down all kernels that it sees.
const noteName = "jupyter"

// kernels returns the kernels that a caller can see. The result includes kernels of hibernated sessions, because
// clients forget a kernel that is missing.
func (s *Server) kernels(ctx context.Context, caller string) []kernel {
	offers, _, _ := s.offers() // without offers, kernels have the names of their kernelspecs
	list := []kernel{}
	for _, info := range s.Sessions.List(caller) {
		_, shown := info.Meta[noteName]
		if !shown || info.State == cellhold.SessionEnded || info.Parent != "" { // a fork has a copy of the entry
			continue
		}
		if len(info.Kernels) == 0 { // the session of an earlier server is not adopted yet
			adopted, err := s.Sessions.Session(ctx, caller, info.ID)
			if err != nil {
				continue
			}
			info = adopted.Info()
		}
		for _, k := range info.Kernels {
			list = append(list, kernel{id: uuidOf(info.ID, k.ID), name: nameOf(offers, info, k), info: info, state: k})
		}
	}
	return list
}

// kernel returns the kernel of a request, and its session.
func (s *Server) kernel(r *http.Request, caller string) (kernel, *session.Session, error) {
	return s.kernelByID(r.Context(), caller, r.PathValue("id"))
}

func (s *Server) kernelByID(ctx context.Context, caller, id string) (kernel, *session.Session, error) {
	for _, k := range s.kernels(ctx, caller) {
		if k.id == id {
			of, err := s.Sessions.Session(ctx, caller, k.info.ID)
			return k, of, err
		}
	}
	return kernel{}, nil, cellhold.Errorf(cellhold.NotFound, "Kernel does not exist.")
}

// kernelModel is a kernel as Jupyter shows it.
type kernelModel struct {
	ID           string               `json:"id"`
	Name         string               `json:"name"`
	LastActivity string               `json:"last_activity"`
	State        cellhold.KernelState `json:"execution_state"`
	Connections  int                  `json:"connections"`
}

// timeText writes a time as Jupyter's clients parse it: they need a fraction of at most six digits.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// model returns a kernel as Jupyter shows it. A kernel of a hibernated session keeps its state, which is idle.
func (s *Server) model(k kernel) kernelModel {
	return kernelModel{ID: k.id, Name: k.name, LastActivity: timeText(k.info.Used), State: k.state.State, Connections: s.connections.of(k.id)}
}

func (s *Server) listKernels(w http.ResponseWriter, r *http.Request, caller string) error {
	models := []kernelModel{}
	for _, k := range s.kernels(r.Context(), caller) {
		models = append(models, s.model(k))
	}
	write(w, http.StatusOK, models)
	return nil
}

func (s *Server) getKernel(w http.ResponseWriter, r *http.Request, caller string) error {
	k, _, err := s.kernel(r, caller)
	if err != nil {
		return err
	}
	write(w, http.StatusOK, s.model(k))
	return nil
}

// newKernel is the body of a request for a kernel. The server ignores the other fields of clients. The directory is on
// the client's machine, and the server chooses the id.
type newKernel struct {
	Name string            `json:"name"`
	Env  map[string]string `json:"env"`
}

func (s *Server) startKernel(w http.ResponseWriter, r *http.Request, caller string) error {
	var q newKernel
	if err := exchange.DecodeJSON(r, &q); err != nil {
		return err
	}
	ctx, cancel := exchange.Act(r.Context())
	defer cancel()
	k, err := s.start(ctx, caller, q, "[]")
	if err != nil {
		return err
	}
	w.Header().Set("Location", prefixOf(r)+"/api/kernels/"+k.id)
	write(w, http.StatusCreated, s.model(k))
	return nil
}

// start creates the session of a new kernel.
func (s *Server) start(ctx context.Context, caller string, q newKernel, note string) (kernel, error) {
	o, err := s.find(q.Name)
	if err != nil {
		return kernel{}, err
	}
	of, err := s.Sessions.Create(ctx, registry.CreateRequest{Owner: caller, Template: o.template, Kernel: o.spec.Name,
		Meta: map[string]string{noteName: note}, Process: terms.Process{Env: kernelEnv(q.Env)}})
	if err != nil {
		return kernel{}, err
	}
	info := of.Info()
	return kernel{id: uuidOf(info.ID, info.Kernels[0].ID), name: o.name, info: info, state: info.Kernels[0]}, nil
}

// kernelEnv returns the variables that a kernel gets: the variables that a client sends for the kernel. Other
// variables, and the directory, belong to the client's machine.
func kernelEnv(env map[string]string) map[string]string {
	mine := map[string]string{}
	for name, value := range env {
		if strings.HasPrefix(name, "KERNEL_") && name != "KERNEL_WORKING_DIR" {
			mine[name] = value
		}
	}
	return mine
}

func (s *Server) deleteKernel(w http.ResponseWriter, r *http.Request, caller string) error {
	k, of, err := s.kernel(r, caller)
	if err != nil {
		return err
	}
	ctx, cancel := exchange.Act(r.Context())
	defer cancel()
	if err := shutDown(ctx, of, k); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// shutDown ends a kernel. If it is the first kernel of its session, the session ends.
func shutDown(ctx context.Context, of *session.Session, k kernel) error {
	if k.state.ID != k.info.Kernels[0].ID {
		return of.RemoveKernel(ctx, k.state.ID)
	}
	return of.End(ctx)
}

func (s *Server) interruptKernel(w http.ResponseWriter, r *http.Request, caller string) error {
	k, of, err := s.kernel(r, caller)
	if err != nil {
		return err
	}
	if err := of.Interrupt(r.Context(), k.state.ID, ""); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// restartKernel restarts a kernel and answers when it is idle.
func (s *Server) restartKernel(w http.ResponseWriter, r *http.Request, caller string) error {
	k, of, err := s.kernel(r, caller)
	if err != nil {
		return err
	}
	ctx, cancel := exchange.Act(r.Context())
	defer cancel()
	if err := of.Restart(ctx, k.state.ID); err != nil {
		return err
	}
	if k, _, err = s.kernel(r, caller); err != nil {
		return err
	}
	write(w, http.StatusOK, s.model(k))
	return nil
}

// status answers with the numbers of the caller's kernels and connections.
func (s *Server) status(w http.ResponseWriter, r *http.Request, caller string) error {
	list := s.kernels(r.Context(), caller)
	last, open := s.started, 0
	for _, k := range list {
		if k.info.Used.After(last) {
			last = k.info.Used
		}
		open += s.connections.of(k.id)
	}
	write(w, http.StatusOK, map[string]any{"started": timeText(s.started), "last_activity": timeText(last), "kernels": len(list), "connections": open})
	return nil
}

// me answers with the name of the caller's token.
func (s *Server) me(w http.ResponseWriter, _ *http.Request, caller string) error {
	name := caller
	if name == "" {
		name = "default" // a server without tokens
	}
	write(w, http.StatusOK, map[string]any{"permissions": map[string]any{}, "identity": map[string]any{"username": name, "name": name,
		"display_name": name, "initials": strings.ToUpper(name[:1]), "avatar_url": nil, "color": nil}})
	return nil
}
