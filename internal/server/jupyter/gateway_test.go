package jupyter

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"cellhold/internal/server/jupyter/framing"
	"cellhold/internal/session"
)

// widget is a message of a kernel with a buffer.
var widget = session.Frame{Channel: "iopub", Header: json.RawMessage(`{"msg_id":"m","msg_type":"comm_open","session":"k"}`), Parent: json.RawMessage(`{"msg_id":"p"}`),
	Content: json.RawMessage(`{"comm_id":"c","data":{"state":{"height":5},"buffer_paths":[["value"]]}}`), Buffers: [][]byte{{0, 200}}}

// dialAs connects a client with a name, which offers the given subprotocols.
func dialAs(t *testing.T, agent string, protocols ...string) *rig {
	t.Helper()
	r := &rig{wire: newWire(), arrivals: newArrivals()}
	hs := httptest.NewServer(serveWire(t.Context(), t, r.wire, r.arrivals, "ann"))
	t.Cleanup(hs.Close)
	socket, _, err := websocket.Dial(t.Context(), hs.URL, &websocket.DialOptions{Subprotocols: protocols, HTTPHeader: http.Header{"User-Agent": {agent}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.CloseNow() })
	r.socket = socket
	return r
}

func TestAGatewayClientGetsMessagesWithoutBuffersAndOneNote(t *testing.T) {
	r := dialAs(t, "Tornado/6.6.1")
	for range 2 {
		r.frames <- widget
	}
	var kinds []string
	for range 3 {
		kind, p := r.read(t)
		f, err := framing.DecodeText(p)
		if err != nil || kind != websocket.MessageText || string(f.Parent) != string(widget.Parent) {
			t.Fatalf("got %v, %+v, %v", kind, f, err)
		}
		var m struct {
			Kind    string `json:"msg_type"`
			Session string
		}
		if json.Unmarshal(f.Header, &m) != nil || m.Session != "k" {
			t.Errorf("the header is %s", f.Header)
		}
		kinds = append(kinds, m.Kind)
		if m.Kind == "comm_open" && string(f.Content) != `{"comm_id":"c","data":{"buffer_paths":[],"state":{"height":5}}}` {
			t.Errorf("the content is %s", f.Content)
		}
	}
	if strings.Join(kinds, " ") != "stream comm_open comm_open" {
		t.Errorf("got %v", kinds)
	}
}

// TestABinaryMessageOfAGatewayClientCanBeText: the proxy of jupyter_server does not pass the kind of a message on.
func TestABinaryMessageOfAGatewayClientCanBeText(t *testing.T) {
	pieces, _, err := framing.EncodeLegacy(framing.Frame(widget))
	if err != nil {
		t.Fatal(err)
	}
	for _, gateway := range []bool{true, false} {
		f, err := (&channel{gateway: gateway}).decode(websocket.MessageText, bytes.Join(pieces, nil))
		if gateway != (err == nil && len(f.Buffers) == 1 && bytes.Equal(f.Buffers[0], widget.Buffers[0])) {
			t.Errorf("gateway %t: got %+v, %v", gateway, f, err)
		}
	}
}

func TestOtherClientsGetBuffers(t *testing.T) {
	for _, c := range []struct {
		agent     string
		protocols []string
	}{{"Mozilla/5.0", nil}, {"", nil}, {"Tornado/6.6.1", []string{framing.Protocol}}} {
		r := dialAs(t, c.agent, c.protocols...)
		r.frames <- widget
		decode := framing.DecodeBinary
		if len(c.protocols) > 0 {
			decode = framing.DecodeV1
		}
		kind, p := r.read(t)
		if f, err := decode(p); err != nil || kind != websocket.MessageBinary || len(f.Buffers) != 1 || string(f.Content) != string(widget.Content) {
			t.Errorf("%q with %q: got %v, %+v, %v", c.agent, c.protocols, kind, f, err)
		}
	}
}

// TestAClientWithoutANameAndItsTokenInThePathIsAGateway: the gateway client of nbclient sends nothing else.
func TestAClientWithoutANameAndItsTokenInThePathIsAGateway(t *testing.T) {
	for _, c := range []struct {
		path, agent string
		want        bool
	}{{"/jupyter/t/x/api/kernels", "", true}, {"/jupyter/t/x/api/kernels", "other", false}, {"/jupyter/api/kernels", "", false}} {
		got := !c.want
		h := ByPath(true, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = isGateway(r) }))
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		r.Header.Set("User-Agent", c.agent)
		h.ServeHTTP(nil, r)
		if got != c.want {
			t.Errorf("%s of %q: got %t", c.path, c.agent, got)
		}
	}
}
