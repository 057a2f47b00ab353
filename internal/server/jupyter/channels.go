package jupyter

import (
	"bufio"
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/jupyter/framing"
	"cellhold/internal/session"
)

// channels serves the WebSocket of a kernel that the caller can see.
func (s *Server) channels(w http.ResponseWriter, r *http.Request, caller string) error {
	k, of, err := s.kernel(r, caller)
	if err != nil {
		return err
	}
	return s.connect(w, r, end{caller: caller, of: of, kernel: k.state.ID, client: r.URL.Query().Get("session_id"), older: s.OlderForm})
}

// end is the kernel at the end of a WebSocket, and its client.
type end struct {
	caller string
	of     *session.Session
	kernel cellhold.KernelID
	client string // name
	older  bool   // the client gets the older form of messages only
}

// connect refuses a request before the upgrade, so that a client sees why.
func (s *Server) connect(w http.ResponseWriter, r *http.Request, to end) error {
	if err := checkUpgrade(r); err != nil {
		return err
	}
	ctx, leave, err := s.connections.enter(r.Context(), place{caller: to.caller, kernel: uuidOf(to.of.Info().ID, to.kernel), client: to.client})
	if err != nil {
		return err
	}
	defer leave()
	opening, cancel := exchange.Act(r.Context())
	wire, err := to.of.Wire(opening, to.kernel, to.client) // replaces the client's earlier connection
	cancel()
	if err != nil {
		return err
	}
	c := &channel{wire: wire, log: s.Logger, caller: to.caller, arrivals: s.arrivals}
	if err := c.accept(w, r, acceptOptions(to.older)); err != nil { // Accept has answered
		wire.Detach()
		return nil
	}
	away, release := s.Waiters.Enter(ctx)
	defer release()
	c.serve(away)
	return nil
}

// accept upgrades a request.
func (c *channel) accept(w http.ResponseWriter, r *http.Request, o *websocket.AcceptOptions) (err error) {
	h := &hijacker{ResponseWriter: w}
	c.socket, err = websocket.Accept(h, r, o)
	if err != nil {
		return err
	}
	c.conn, c.v1 = h.conn, c.socket.Subprotocol() != ""
	c.gateway = !c.v1 && isGateway(r)
	return nil
}

// hijacker keeps the connection that Accept takes: the library has no deadline for it.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack takes the connection.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, buffered, err
}

// acceptOptions returns the options of a connection. The guard has checked the origin.
func acceptOptions(older bool) *websocket.AcceptOptions {
	o := &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled}
	if !older {
		o.Subprotocols = []string{framing.Protocol}
	}
	return o
}

// checkUpgrade refuses a request that Accept would refuse, before the request replaces another connection.
func checkUpgrade(r *http.Request) error {
	keys := r.Header.Values("Sec-Websocket-Key")
	valid := r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ProtoMinor == 1 && r.ContentLength == 0 && len(keys) == 1 &&
		r.Header.Get("Sec-Websocket-Version") == "13" && names(r.Header, "Connection", "upgrade") && names(r.Header, "Upgrade", "websocket")
	if valid {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0]))
		valid = err == nil && len(key) == 16
	}
	if !valid {
		return cellhold.Errorf(cellhold.Invalid, `Can "Upgrade" only to "WebSocket", version 13.`)
	}
	return nil
}

// names reports whether a header has a word in one of its lists.
func names(h http.Header, header, word string) bool {
	for _, list := range h.Values(header) {
		for w := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(w), word) {
				return true
			}
		}
	}
	return false
}

// closing says how a connection ends. Clients of JupyterLab do not reconnect after the codes 1000 and 1001, so the server
// never sends them.
func closing(ctx context.Context, err error) (websocket.StatusCode, string) {
	switch context.Cause(ctx) {
	case errDrain, exchange.ErrAway:
		return websocket.StatusServiceRestart, "The server restarts. Connect again."
	}
	return codeOf(err)
}
