package agent

import (
	"net/http"
	"syscall"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
)

// commandRoutes adds the routes of commands.
func (a *Agent) commandRoutes(mux *http.ServeMux) {
	mux.HandleFunc("PUT /v1/commands/{command}", a.putCommand)
	mux.HandleFunc("DELETE /v1/commands/{command}", a.deleteCommand)
	mux.HandleFunc("POST /v1/commands/{command}/stdin", a.postStdin)
	mux.HandleFunc("POST /v1/commands/{command}/signal", a.postSignal)
	mux.HandleFunc("POST /v1/commands/{command}/resize", a.postResize)
	mux.HandleFunc("GET /v1/commands/events", a.getCommandEvents)
	mux.HandleFunc("POST /v1/commands/ack", a.postCommandAck)
}

func commandID(r *http.Request) cellhold.CommandID {
	return cellhold.CommandID(r.PathValue("command"))
}

func (a *Agent) putCommand(w http.ResponseWriter, r *http.Request) {
	var start guestapi.StartCommand
	if err := decode(w, r, &start); err != nil {
		problem(w, err)
		return
	}
	if err := a.checkStart(); err != nil {
		problem(w, err)
		return
	}
	start.Env = a.Environment(start.Env)
	fresh, err := a.commands.Start(commandID(r), start)
	if err != nil {
		problem(w, err)
		return
	}
	started := guestapi.Started{PID: a.commands.PID(commandID(r))}
	w.Header().Set("Content-Type", "application/json")
	accepted(w, fresh, nil)
	w.Write(spool.Encode(started))
}

func (a *Agent) deleteCommand(w http.ResponseWriter, r *http.Request) {
	if err := a.commands.Kill(commandID(r)); err != nil {
		problem(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *Agent) postStdin(w http.ResponseWriter, r *http.Request) {
	offset := int64(-1) // the next position
	if r.URL.Query().Has("offset") {
		var err error
		if offset, err = number(r, "offset"); err != nil {
			problem(w, err)
			return
		}
	}
	body := http.MaxBytesReader(w, r.Body, guestapi.MaxInput)
	taken, err := a.commands.Input(r.Context(), commandID(r), body, offset, r.URL.Query().Get("eof") == "true")
	if err != nil {
		problem(w, err)
		return
	}
	answer(w, guestapi.Input{Offset: taken})
}

func (a *Agent) postSignal(w http.ResponseWriter, r *http.Request) {
	var s guestapi.Signal
	err := decode(w, r, &s)
	if err == nil {
		err = a.commands.Signal(commandID(r), syscall.Signal(s.Number))
	}
	accepted(w, true, err)
}

func (a *Agent) postResize(w http.ResponseWriter, r *http.Request) {
	var t cellhold.Terminal
	err := decode(w, r, &t)
	if err == nil {
		err = a.commands.Resize(commandID(r), t)
	}
	accepted(w, true, err)
}

func (a *Agent) getCommandEvents(w http.ResponseWriter, r *http.Request) {
	after, err := number(r, "after")
	if err != nil {
		problem(w, err)
		return
	}
	a.commands.Serve(w, r, after)
}

func (a *Agent) postCommandAck(w http.ResponseWriter, r *http.Request) {
	seq, err := number(r, "seq")
	if err != nil {
		problem(w, err)
		return
	}
	a.commands.Ack(seq)
	w.WriteHeader(http.StatusNoContent)
}
