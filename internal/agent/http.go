package agent

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
)

// maxBody bounds the JSON of a request. JSON can need six bytes for each byte of a cell's code and of the parts of a
// client. 64 KiB are enough for the other fields.
const maxBody = 6*(guestapi.MaxCode+2*guestapi.MaxClientPart) + 64<<10

// routes returns the handler of the guest protocol; see package guestapi.
func (a *Agent) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v1/info", a.getInfo)
	mux.HandleFunc("GET /v1/kernelspecs", a.getSpecs)
	mux.HandleFunc("PUT /v1/kernels/{kernel}", a.putKernel)
	mux.HandleFunc("DELETE /v1/kernels/{kernel}", a.deleteKernel)
	mux.HandleFunc("POST /v1/kernels/{kernel}/execute", a.withKernel(postExecute))
	mux.HandleFunc("POST /v1/kernels/{kernel}/interrupt", a.withKernel(postInterrupt))
	mux.HandleFunc("POST /v1/kernels/{kernel}/input", a.withKernel(postInput))
	mux.HandleFunc("POST /v1/kernels/{kernel}/restart", a.withKernel(postRestart))
	mux.HandleFunc("GET /v1/kernels/{kernel}/events", a.withKernel(a.getEvents))
	mux.HandleFunc("POST /v1/kernels/{kernel}/ack", a.withKernel(postAck))
	mux.HandleFunc("POST /v1/kernels/{kernel}/prepare", a.withKernel(postPrepare))
	mux.HandleFunc("GET /v1/kernels/{kernel}/wire", a.withKernel(getWire))
	mux.HandleFunc("POST /v1/renew", a.postRenew)
	a.commandRoutes(mux)
	mux.HandleFunc("GET /v1/output", a.getOutput)
	mux.HandleFunc("GET /v1/output/file", a.getFile)
	mux.HandleFunc("PUT /v1/output/file", a.putFile)
	mux.HandleFunc("PUT /v1/ways/{way}", a.putWay)
	mux.HandleFunc("DELETE /v1/ways/{way}", a.deleteWay)
	mux.HandleFunc("POST /v1/ways/{way}/next", a.postNext)
	mux.HandleFunc("POST /v1/ports/{port}", a.postPort)
	if a.options.Files != nil {
		mux.Handle("/v1/files", a.options.Files)
		mux.Handle("/v1/files/", a.options.Files)
	}
	for _, add := range a.options.Routes {
		add(mux, problem)
	}
	return mux
}

// withKernel finds the kernel that the path names.
func (a *Agent) withKernel(h func(*kernels.Kernel, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		k, err := a.kernel(cellhold.KernelID(r.PathValue("kernel")))
		if err != nil {
			problem(w, err)
			return
		}
		h(k, w, r)
	}
}

func (a *Agent) getInfo(w http.ResponseWriter, _ *http.Request) { answer(w, a.info()) }

func (a *Agent) getSpecs(w http.ResponseWriter, _ *http.Request) {
	specs := a.options.Launcher.Specs()
	for i, s := range specs {
		specs[i].DisplayName, specs[i].Language = kernels.Sentence(s.DisplayName), kernels.Sentence(s.Language)
	}
	answer(w, specs)
}

func (a *Agent) putKernel(w http.ResponseWriter, r *http.Request) {
	var start guestapi.StartKernel
	if err := decode(w, r, &start); err != nil {
		problem(w, err)
		return
	}
	fresh, err := a.start(cellhold.KernelID(r.PathValue("kernel")), start)
	accepted(w, fresh, err)
}

func (a *Agent) deleteKernel(w http.ResponseWriter, r *http.Request) {
	if err := a.remove(cellhold.KernelID(r.PathValue("kernel"))); err != nil {
		problem(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func postExecute(k *kernels.Kernel, w http.ResponseWriter, r *http.Request) {
	var e guestapi.Execute
	if err := decode(w, r, &e); err != nil {
		problem(w, err)
		return
	}
	fresh, err := k.Execute(e)
	accepted(w, fresh, err)
}

func postInterrupt(k *kernels.Kernel, w http.ResponseWriter, r *http.Request) {
	k.Interrupt(cellhold.CellID(r.URL.Query().Get("cell")))
	w.WriteHeader(http.StatusAccepted)
}

func postInput(k *kernels.Kernel, w http.ResponseWriter, r *http.Request) {
	var in guestapi.InputReply
	if err := decode(w, r, &in); err != nil {
		problem(w, err)
		return
	}
	accepted(w, true, k.Input(in))
}

func postRestart(k *kernels.Kernel, w http.ResponseWriter, _ *http.Request) {
	k.Restart()
	w.WriteHeader(http.StatusAccepted)
}

func postAck(k *kernels.Kernel, w http.ResponseWriter, r *http.Request) {
	seq, err := number(r, "seq")
	if err != nil {
		problem(w, err)
		return
	}
	k.Events().Ack(seq)
	w.WriteHeader(http.StatusNoContent)
}

// getEvents writes the events after a number until the reader disconnects or the kernel is removed.
func (a *Agent) getEvents(k *kernels.Kernel, w http.ResponseWriter, r *http.Request) {
	after, err := number(r, "after")
	if err != nil {
		problem(w, err)
		return
	}
	if r.Header.Get("Upgrade") == guestapi.Talk {
		a.getTalk(k, w, after)
		return
	}
	k.Events().Serve(w, r, after)
}

func postPrepare(k *kernels.Kernel, w http.ResponseWriter, r *http.Request) {
	var p guestapi.Prepare
	err := decode(w, r, &p)
	var prepared guestapi.Prepared
	if err == nil {
		prepared, err = k.Prepare(r.Context(), p)
	}
	if err != nil {
		problem(w, err)
		return
	}
	answer(w, prepared)
}

func (a *Agent) postRenew(w http.ResponseWriter, r *http.Request) {
	var want guestapi.Renew
	err := decode(w, r, &want)
	var info guestapi.Info
	if err == nil {
		info, err = a.renew(r.Context(), want)
	}
	if err != nil {
		problem(w, err)
		return
	}
	answer(w, info)
}

func (a *Agent) getOutput(w http.ResponseWriter, _ *http.Request) { answer(w, a.files.list()) }

func (a *Agent) getFile(w http.ResponseWriter, r *http.Request) {
	f, size, err := a.files.get(r.URL.Query().Get("path"))
	if err != nil {
		problem(w, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	// If the file shrinks during the copy, the connection breaks, and the host knows that the file is
	// incomplete. If it grows, only its size at the open is sent.
	if _, err := io.CopyN(w, f, size); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (a *Agent) putFile(w http.ResponseWriter, r *http.Request) {
	if err := a.files.put(r.URL.Query().Get("path"), r.Body); err != nil {
		problem(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func number(r *http.Request, name string) (int64, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, cellhold.Errorf(cellhold.Invalid, "%s must be a number of at least 0.", name)
	}
	return n, nil
}

func decode(w http.ResponseWriter, r *http.Request, v any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(v)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return cellhold.Wrap(cellhold.Exhausted, err, "The request is too large.")
	}
	if err != nil {
		return cellhold.Wrap(cellhold.Invalid, err, "The request is not the expected JSON.")
	}
	return nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(spool.Encode(v))
}

// accepted answers with an error, or with 202 if this request started the object, or with 200 if an earlier request
// started it.
func accepted(w http.ResponseWriter, fresh bool, err error) {
	switch {
	case err != nil:
		problem(w, err)
	case fresh:
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusOK)
	}
}

// statuses maps kinds of errors to HTTP statuses. All other errors are failures of the agent.
var statuses = map[cellhold.Kind]int{
	cellhold.Invalid:   http.StatusBadRequest,
	cellhold.NotFound:  http.StatusNotFound,
	cellhold.Conflict:  http.StatusConflict,
	cellhold.Exhausted: http.StatusRequestEntityTooLarge,

	cellhold.Unsupported: http.StatusNotImplemented,
	cellhold.Unavailable: http.StatusServiceUnavailable,
}

// refusal returns the HTTP status and the message of an error.
func refusal(err error) (status int, message string) {
	status, known := statuses[cellhold.KindOf(err)]
	if !known {
		status = http.StatusInternalServerError
	}
	message = "The agent failed."
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		message = e.Message
	}
	return status, message
}

func problem(w http.ResponseWriter, err error) {
	status, message := refusal(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(spool.Encode(guestapi.Problem{Error: message}))
}
