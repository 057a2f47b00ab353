package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/registry"
	"cellhold/internal/session"

	"github.com/alecthomas/kong"
)

// realSession starts a server in this process, with real sandboxes, and creates a session.
func realSession(t *testing.T) *session.Session {
	t.Helper()
	images := stockImages(t)
	home, err := os.MkdirTemp("/tmp", "ch") // short, because it has gVisor's sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	for _, err := range []error{os.Chmod(home, 0o711), os.Symlink(images, filepath.Join(home, "images"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var c struct {
		Settings       `embed:""`
		ServerSettings `embed:""`
	}
	parser, err := kong.New(&c)
	if err == nil {
		_, err = parser.Parse([]string{"--no-templates"})
	}
	if err != nil {
		t.Fatal(err)
	}
	c.ServerSettings.Ephemeral = true
	parts, err := c.Settings.Open(t.Context(), home, home, c.ServerSettings, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if IsIncomplete(err) {
		t.Skipf("%v; make build builds the guest's binary and the runner", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := parts.Sessions.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
		if err := parts.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := parts.Sessions.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	s, err := parts.Sessions.Create(ctx, registry.CreateRequest{Owner: "me"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// front is a Jupyter client.
type front struct {
	*testing.T
	session.Wire
	sent int
}

// Receive receives a message, and removes it.
func (f *front) Receive(ctx context.Context) (session.Frame, error) {
	m, err := f.Wire.Receive(ctx)
	if err == nil {
		f.Written()
	}
	return m, err
}

// send sends a message. It returns its header, which Go would encode in another way.
func (f *front) send(channel, msgType, content string, buffers ...[]byte) json.RawMessage {
	f.Helper()
	f.sent++
	header := fmt.Appendf(nil, `{"msg_type" : %q,"msg_id":"lab-%d","session":"lab","username":"<u>","date":"2026-01-02T03:04:05.000006Z","version":"5.3","field":null}`, msgType, f.sent)
	if err := f.Send(f.Context(), session.Frame{Channel: channel, Header: header, Content: json.RawMessage(content), Buffers: buffers}); err != nil {
		f.Fatal(err)
	}
	return header
}

func (f *front) execute(code, fields string) json.RawMessage {
	f.Helper()
	text, _ := json.Marshal(code)
	return f.send("shell", "execute_request", fmt.Sprintf(`{"code":%s,%s}`, text, fields))
}

// until receives messages up to one of a type with a text in its content. A parent of nil means any.
func (f *front) until(msgType string, parent json.RawMessage, text string) session.Frame {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), time.Minute)
	defer cancel()
	var seen []string
	for {
		m, err := f.Receive(ctx)
		if err != nil {
			f.Fatalf("before %s %s: %v; seen %q", msgType, text, err, seen)
		}
		seen = append(seen, fmt.Sprintf("%s %.300s", m.Header, m.Content))
		var h struct {
			Type string `json:"msg_type"`
		}
		if json.Unmarshal(m.Header, &h) != nil || h.Type != msgType || parent != nil && !bytes.Equal(m.Parent, parent) {
			continue
		}
		if !strings.Contains(string(m.Content), text) {
			f.Errorf("%s is %s, want %q in it", msgType, m.Content, text)
		}
		return m
	}
}

const echoes = `
def opened(comm, message):
    comm.send(data=message["content"]["data"], buffers=message["buffers"])
get_ipython().kernel.comm_manager.register_target("echo", opened)
`

func TestAJupyterClientUsesARealKernel(t *testing.T) {
	s := realSession(t)
	w, err := s.Wire(t.Context(), "", "lab")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	f := &front{t, w, 0}
	f.until("kernel_info_reply", f.send("control", "kernel_info_request", `{}`), `"ok"`)

	// Code without a trace, and a comm with buffers.
	f.until("execute_reply", f.execute(echoes, `"silent":true`), `"ok"`)
	buffers := [][]byte{{0, 255}, []byte("two")}
	head := f.send("shell", "comm_open", `{"comm_id":"c","target_name":"echo","data":{"a":[1]}}`, buffers...)
	if m := f.until("comm_msg", head, `"c"`); !slices.EqualFunc(m.Buffers, buffers, bytes.Equal) {
		t.Errorf("the comm has the buffers %q", m.Buffers)
	}

	// A cell that runs until it is interrupted, and questions on control in this time. Those on shell wait.
	loop := f.execute("number = 1\nimport time\nwhile True: time.sleep(0.01)", `"store_history":true,"stop_on_error":false`)
	f.until("execute_input", loop, "while True")
	shell := f.send("shell", "complete_request", `{"code":"numb","cursor_pos":4}`)
	f.until("kernel_info_reply", f.send("control", "kernel_info_request", `{}`), `"python"`)
	next := f.execute("number + 1", `"user_expressions":{"n":"number"}`)
	inspect := f.send("shell", "inspect_request", `{"code":"number","cursor_pos":6,"detail_level":0}`)
	if err := s.Interrupt(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	f.until("execute_reply", loop, "KeyboardInterrupt")
	f.until("complete_reply", shell, `"number"`)
	f.until("execute_result", next, `"2"`)
	f.until("execute_reply", next, `"n"`)
	f.until("inspect_reply", inspect, "int")

	// A cell of another caller.
	if _, err := s.Execute(t.Context(), session.ExecuteRequest{Code: "print('from /v1')"}); err != nil {
		t.Fatal(err)
	}
	f.until("execute_input", nil, "from /v1")
	f.until("stream", nil, "from /v1")

	// The kernel dies, and a new one takes its place.
	dead := f.execute("import os; os._exit(7)", `"store_history":true`)
	f.until("stream", dead, "exit status 7")
	f.until("status", nil, "restarting")
	f.until("execute_reply", dead, "exit status 7")
	f.until("execute_reply", f.execute("number", `"store_history":true`), "NameError")

	// Hibernation.
	f.until("execute_reply", f.execute("number = 41", `"store_history":true`), `"ok"`)
	hibernate(t, s)
	f.until("execute_result", f.execute("number + 1", `"store_history":true`), "42")

	var code []string
	for c, err := range s.History().Cells(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		code = append(code, c.Code)
	}
	if len(code) != 7 || strings.Contains(code[0], "opened") {
		t.Errorf("the cells are %q", code)
	}
}

// TestAJupyterClientUsesAKernelOverZeroMQ: such kernels encode the parent header again.
func TestAJupyterClientUsesAKernelOverZeroMQ(t *testing.T) {
	s := realSession(t)
	k, err := s.AddKernel(t.Context(), attachment.KernelRequest{Spec: "bash"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Wire(t.Context(), k.ID, "lab")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	f := &front{t, w, 0}
	f.execute("x=41", `"store_history":true`)
	f.each(f.execute("echo $((x + 1))", `"store_history":true`), `"42`, `"ok"`, `"idle"`)
	f.each(f.send("shell", "complete_request", `{"code":"ech","cursor_pos":3}`), `"echo"`)
	loop := f.execute("sleep 100", `"store_history":true`)
	f.each(loop, "sleep")
	f.each(f.send("control", "kernel_info_request", `{}`), `"bash"`)
	if err := s.Interrupt(t.Context(), k.ID, ""); err != nil {
		t.Fatal(err)
	}
	f.each(loop, `"status"`, `"idle"`)
}

// each receives messages about a request until each text was in one of them. Over ZeroMQ the channels have no common order.
func (f *front) each(request json.RawMessage, texts ...string) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), time.Minute)
	defer cancel()
	var want, parent map[string]any
	for json.Unmarshal(request, &want); len(texts) > 0; {
		m, err := f.Receive(ctx)
		if err != nil {
			f.Fatalf("before %q: %v", texts, err)
		}
		parent = nil
		if json.Unmarshal(m.Parent, &parent); parent["msg_id"] != want["msg_id"] {
			continue
		}
		if !maps.Equal(parent, want) {
			f.Errorf("the parent of %s is %s, want the fields of %s", m.Header, m.Parent, request)
		}
		texts = slices.DeleteFunc(texts, func(s string) bool { return strings.Contains(string(m.Content), s) })
	}
}

// hibernate hibernates a session when its cells are done.
func hibernate(t *testing.T, s *session.Session) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		for c, err := range s.History().Cells(t.Context()) {
			if err == nil && c.State != cellhold.CellDone {
				_, err = s.History().WaitCell(t.Context(), c.ID)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		err := s.Hibernate(t.Context())
		if err == nil {
			return
		}
		if cellhold.KindOf(err) != cellhold.Conflict || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
