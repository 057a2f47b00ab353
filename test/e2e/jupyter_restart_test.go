package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"cellhold/client"
)

// jupyterCall calls a route for Jupyter's clients.
func (s *server) jupyterCall(t *testing.T, method, path, body string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+"/jupyter/api"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "token "+s.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || json.Unmarshal(text, into) != nil {
		t.Fatalf("%s %s: got status %d with %s, %v", method, path, res.StatusCode, text, err)
	}
}

// notebook is an open notebook of a Jupyter client.
type notebook struct {
	*websocket.Conn
	sent int
}

func (s *server) open(t *testing.T, kernel, name string) *notebook {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), fmt.Sprintf("%s/jupyter/api/kernels/%s/channels?session_id=%s&token=%s", s.url, kernel, name, s.token), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return &notebook{Conn: conn}
}

// send sends code, and returns the id of the request.
func (n *notebook) send(t *testing.T, name, code string) string {
	t.Helper()
	n.sent++
	id := fmt.Sprintf("%s-%d", name, n.sent)
	text := fmt.Sprintf(`{"channel":"shell","header":{"msg_id":%q,"msg_type":"execute_request","session":%q},"content":{"code":%q}}`, id, name, code)
	if err := n.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return id
}

// until reads messages about a request until one fits, and returns the text of its streams.
func (n *notebook) until(t *testing.T, id string, fits func(msgType, state string) bool) (text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		_, p, err := n.Read(ctx)
		if err != nil {
			t.Fatalf("%v after %q", err, text)
		}
		var m struct {
			Type   string `json:"msg_type"`
			Parent struct {
				ID string `json:"msg_id"`
			} `json:"parent_header"`
			Content struct {
				Text  string
				State string `json:"execution_state"`
			}
		}
		if err := json.Unmarshal(p, &m); err != nil {
			t.Fatal(err)
		}
		if m.Parent.ID != id {
			continue
		}
		if m.Type == "stream" {
			text += m.Content.Text
		}
		if fits(m.Type, m.Content.State) {
			return text
		}
	}
}

func isIdle(_, state string) bool { return state == "idle" }

// A kernel keeps its id, its notebook and its variables when the server ends, and a client gets the rest of its running cell.
func TestAKernelOfJupyterSurvivesARestartOfTheServer(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			home := newHome(t)
			s := serve(t, home)
			type session struct {
				ID, Path string
				Kernel   struct{ ID string }
			}
			var before, after session
			s.jupyterCall(t, "POST", "/sessions", `{"path":"a.ipynb","type":"notebook","kernel":{"name":"python3"}}`, &before)
			n := s.open(t, before.Kernel.ID, "front")
			n.until(t, n.send(t, "front", "x = 41"), isIdle)
			id := n.send(t, "front", "import os, time\nprint('on', flush=True)\nwhile not os.path.exists('/tmp/go'):\n    time.sleep(0.1)\nprint(x + 1)")
			n.until(t, id, func(kind, _ string) bool { return kind == "stream" })
			s.signal(t, sig)
			if _, _, err := n.Read(t.Context()); sig == syscall.SIGTERM && websocket.CloseStatus(err) != websocket.StatusServiceRestart {
				t.Errorf("the connection ended with %v, want code %d", err, websocket.StatusServiceRestart)
			}
			s = serve(t, home)
			s.jupyterCall(t, "GET", "/sessions/"+before.ID, "", &after)
			if after != before {
				t.Errorf("got %+v, want %+v", after, before)
			}
			n = s.open(t, after.Kernel.ID, "front")
			list, err := s.Sessions(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.StartCommand(t.Context(), list[0].ID, client.Run{Line: "touch /tmp/go"}); err != nil {
				t.Fatal(err)
			}
			if text := n.until(t, id, isIdle); !strings.Contains(text, "42\n") {
				t.Errorf("the rest of the running cell: got %q, want 42", text)
			}
			n.sent = 10
			if text := n.until(t, n.send(t, "front", "print(x)"), isIdle); text != "41\n" {
				t.Errorf("got %q, want the variable", text)
			}
		})
	}
}
