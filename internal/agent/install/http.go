package install

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"cellhold"
	"cellhold/internal/guestapi"
)

// maxBody bounds a request. All requirements at full length would have 64 MB, real lock files have 1 MB.
const maxBody = 16 << 20

// Serve adds the routes of packages. problem answers with an error.
func (r *Installer) Serve(mux *http.ServeMux, problem func(http.ResponseWriter, error)) {
	mux.HandleFunc("POST /v1/packages", func(w http.ResponseWriter, req *http.Request) {
		r.postInstall(w, req, r.Install, problem)
	})
	mux.HandleFunc("POST /v1/packages/look", func(w http.ResponseWriter, req *http.Request) {
		r.postInstall(w, req, r.Look, problem)
	})
	mux.HandleFunc("POST /v1/packages/requests", func(w http.ResponseWriter, _ *http.Request) {
		r.postRequests(w, func(err error) { problem(w, err) })
	})
	mux.HandleFunc("GET /v1/packages/ask", func(w http.ResponseWriter, req *http.Request) {
		ctx, cancel := context.WithTimeout(req.Context(), guestapi.AskWait)
		defer cancel()
		ask, ok := r.nextAsk(ctx)
		if !ok {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(ask)
	})
	mux.HandleFunc("PUT /v1/packages/answer", func(w http.ResponseWriter, req *http.Request) {
		q := req.URL.Query()
		id, err := strconv.ParseInt(q.Get("ask"), 10, 64)
		status, e := strconv.Atoi(q.Get("status"))
		if err != nil || e != nil || status < 200 || status > 599 {
			problem(w, cellhold.Errorf(cellhold.Invalid, "An answer needs the number of its question and a status."))
			return
		}
		if err := r.reply(req.Context(), id, status, q.Get("type"), req.Body); err != nil {
			problem(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// postInstall answers a request about packages.
func (r *Installer) postInstall(w http.ResponseWriter, req *http.Request, do func(context.Context, guestapi.Install) (guestapi.Installed, error), problem func(http.ResponseWriter, error)) {
	var in guestapi.Install
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxBody)).Decode(&in); err != nil {
		problem(w, cellhold.Wrap(cellhold.Invalid, err, "The request is not the expected JSON."))
		return
	}
	out, err := do(req.Context(), in)
	if err != nil {
		problem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // fails only when the host has disconnected
}
