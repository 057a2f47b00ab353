package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"cellhold/internal/server/jupyter/framing"
)

// socket is a WebSocket of a Jupyter client.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
	name string
	sent int
}

// dial connects to a kernel. The client sends its token in the query, as browsers do.
func (h *harness) dial(t *testing.T, kernel, client string, protocols ...string) *socket {
	t.Helper()
	url := fmt.Sprintf("%s/jupyter/api/kernels/%s/channels?session_id=%s&token=%s", h.url, kernel, client, annToken)
	conn, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(64 << 20)
	t.Cleanup(func() { conn.CloseNow() })
	return &socket{t: t, conn: conn, name: client}
}

// send sends a message, in the form of the connection.
func (s *socket) send(kind, content string) (id string) {
	s.t.Helper()
	s.sent++
	id = fmt.Sprintf("%s-%d", s.name, s.sent)
	f := framing.Frame{Channel: "shell", Header: json.RawMessage(fmt.Sprintf(`{"msg_id":%q,"msg_type":%q,"session":"x","username":"u","date":"2026-01-01T00:00:00Z","version":"5.3"}`, id, kind)), Content: json.RawMessage(content)}
	pieces, as := framing.EncodeV1(f), websocket.MessageBinary
	if s.conn.Subprotocol() == "" {
		var err error
		if pieces, _, err = framing.EncodeLegacy(f); err != nil {
			s.t.Fatal(err)
		}
		as = websocket.MessageText
	}
	if err := s.conn.Write(s.t.Context(), as, bytes.Join(pieces, nil)); err != nil {
		s.t.Fatal(err)
	}
	return id
}

// until reads messages up to the idle status of a request, and returns them as one text.
func (s *socket) until(id string) string {
	s.t.Helper()
	all := ""
	replied, idle := false, false
	for !replied || !idle {
		kind, p, err := s.conn.Read(s.t.Context())
		if err != nil {
			s.t.Fatalf("%v after %s", err, all)
		}
		decode := framing.DecodeV1
		if kind == websocket.MessageText {
			decode = framing.DecodeText
		}
		f, err := decode(p)
		if err != nil {
			s.t.Fatalf("%v in %q", err, p)
		}
		if strings.Contains(string(f.Parent), `"`+id+`"`) {
			replied = replied || strings.Contains(string(f.Header), "_reply\"")
			idle = idle || strings.Contains(string(f.Content), `"idle"`)
			all += fmt.Sprintf("%s %s %s\n", f.Channel, f.Header, f.Content)
		}
	}
	return all
}

func TestAClientOfJupyterRunsCodeInBothForms(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	for _, protocols := range [][]string{{framing.Protocol}, nil} {
		s := h.dial(t, k.ID, fmt.Sprint("client", len(protocols)), protocols...)
		s.until(s.send("kernel_info_request", `{}`))
		if got := s.until(s.send("execute_request", `{"code":"print hello"}`)); !strings.Contains(got, "hello") || !strings.Contains(got, "execute_input") {
			t.Errorf("%v: got\n%s\nwant the output hello", protocols, got)
		}
		var list []jupyterKernel
		if h.jupyter(200, "GET", "/api/kernels", "", &list); *list[0].Connections < 1 { // the other connection can still be ending
			t.Errorf("got %d connections, want the open one", *list[0].Connections)
		}
		s.conn.Close(websocket.StatusNormalClosure, "")
	}
	cells := h.do(200, "GET", "/v1/sessions/"+string(h.manager.List("ann")[0].ID)+"/cells", "")
	if n := strings.Count(string(cells.body), "print hello"); n != 2 {
		t.Errorf("got the cells %s, want two cells", cells.body)
	}
}

func TestTheOlderFormCanBeForced(t *testing.T) {
	h := newJupyter(t, func(o *Options) { o.JupyterOlderForm = true })
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	if s := h.dial(t, k.ID, "a", framing.Protocol); s.conn.Subprotocol() != "" {
		t.Errorf("got the subprotocol %q, want none", s.conn.Subprotocol())
	}
}

func TestAMessageResumesAHibernatedKernel(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	s := h.dial(t, k.ID, "a", framing.Protocol)
	s.until(s.send("execute_request", `{"code":"set x kept"}`))
	of, err := h.manager.Session(t.Context(), "ann", h.manager.List("ann")[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	for c := range of.History().Cells(t.Context()) {
		if _, err := of.History().WaitCell(t.Context(), c.ID); err != nil { // its end is recorded after its idle status
			t.Fatal(err)
		}
	}
	h.do(200, "POST", "/v1/sessions/"+string(of.ID())+"/hibernate", "")
	if got := s.until(s.send("execute_request", `{"code":"get x"}`)); !strings.Contains(got, "kept") {
		t.Errorf("got\n%s\nwant the variable", got)
	}
}

// code returns the code with which a connection ends.
func (s *socket) code() websocket.StatusCode {
	for {
		if _, _, err := s.conn.Read(s.t.Context()); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

func TestASecondConnectionOfAClientReplacesTheFirst(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	first, second := h.dial(t, k.ID, "a"), h.dial(t, k.ID, "a")
	if code := first.code(); code != websocket.StatusPolicyViolation {
		t.Errorf("the first connection ended with %d, want %d", code, websocket.StatusPolicyViolation)
	}
	second.until(second.send("kernel_info_request", `{}`))
}

func TestARefusedUpgradeReplacesNoConnection(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	s := h.dial(t, k.ID, "a")
	for name, value := range map[string]string{"Connection": "close", "Upgrade": "h2c", "Sec-Websocket-Version": "8", "Sec-Websocket-Key": "short"} {
		r, err := http.NewRequest("GET", h.url+"/api/kernels/"+k.ID+"/channels?session_id=a&token="+annToken, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
		r.Header.Set(name, value)
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s: got status %d, want 400", name, value, res.StatusCode)
		}
	}
	s.until(s.send("kernel_info_request", `{}`))
}

func TestAtShutdownClientsOfJupyterAreToldToConnectAgain(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	s := h.dial(t, k.ID, "a")
	h.server.waiters.SendAway()
	if code := s.code(); code != websocket.StatusServiceRestart {
		t.Errorf("the connection ended with %d, want %d", code, websocket.StatusServiceRestart)
	}
}

func TestTheEndOfAKernelEndsItsConnections(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	s := h.dial(t, k.ID, "a")
	h.jupyter(204, "DELETE", "/api/kernels/"+k.ID, "", nil)
	if code := s.code(); code != websocket.StatusInternalError {
		t.Errorf("the connection ended with %d, want %d", code, websocket.StatusInternalError)
	}
}

func TestAConnectionCanHaveItsTokenInTheHeader(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	conn, _, err := websocket.Dial(t.Context(), h.url+"/api/kernels/"+k.ID+"/channels", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"token " + annToken}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	s := &socket{t: t, conn: conn}
	s.until(s.send("kernel_info_request", `{}`))
}

// Jupyter's own routes hide sessions of other programs. The route of /v1 reaches each session of the caller, and no other.
func TestEachSessionOfTheCallerHasChannels(t *testing.T) {
	h := newJupyter(t, nil)
	at := h.create()
	var list []jupyterKernel
	if h.jupyter(200, "GET", "/api/kernels", "", &list); len(list) != 0 {
		t.Fatalf("got the kernels %v, want none", list)
	}
	dial := func(query, token string) (*websocket.Conn, int) {
		conn, res, err := websocket.Dial(t.Context(), h.url+at+"/channels"+query, &websocket.DialOptions{Subprotocols: []string{framing.Protocol}, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
		if err != nil {
			return nil, res.StatusCode
		}
		conn.SetReadLimit(64 << 20)
		t.Cleanup(func() { conn.CloseNow() })
		return conn, res.StatusCode
	}
	conn, status := dial("?client=a", annToken)
	if conn == nil {
		t.Fatalf("the caller is refused with status %d", status)
	}
	s := &socket{t: t, conn: conn, name: "a"}
	if got := s.until(s.send("execute_request", `{"code":"print hello"}`)); !strings.Contains(got, "hello") {
		t.Errorf("got\n%s\nwant the output hello", got)
	}
	for _, c := range []struct {
		query, token string
		status       int
	}{
		{"", bobToken, 404}, {"?kernel=none", annToken, 404}, {"?clients=a", annToken, 422}, {"?client=" + strings.Repeat("x", 257), annToken, 422}, {"?token=" + annToken, "", 401},
	} {
		if conn, status := dial(c.query, c.token); conn != nil || status != c.status {
			t.Errorf("%.40s: got status %d, want %d", c.query, status, c.status)
		}
	}
	h.do(422, "GET", at+"/channels", "") // no upgrade
}
