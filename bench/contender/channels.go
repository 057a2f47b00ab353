package contender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// OpenJupyter starts a kernel over the API of a Jupyter server, and connects to its WebSocket.
func (c *Cellhold) OpenJupyter(ctx context.Context) (Session, error) {
	var kernel struct {
		ID string `json:"id"`
	}
	if err := c.Call(ctx, http.MethodPost, "/jupyter/api/kernels", map[string]string{"name": "python3"}, &kernel); err != nil {
		return nil, err
	}
	s := &overJupyter{c: c, path: "/jupyter/api/kernels/" + kernel.ID}
	url := "ws" + strings.TrimPrefix(c.url, "http") + s.path + "/channels?session_id=bench"
	var err error
	if s.socket, _, err = websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: c.auth}); err != nil {
		return nil, errors.Join(err, c.Call(ctx, http.MethodDelete, s.path, nil, nil))
	}
	s.socket.SetReadLimit(most)
	return s, nil
}

// overJupyter is a kernel with the WebSocket of one client. A message is a text with JSON.
type overJupyter struct {
	c      *Cellhold
	path   string
	socket *websocket.Conn
	last   int
}

// message is a message in the older framing of Jupyter's WebSocket.
type message struct {
	Channel  string         `json:"channel"`
	Header   messageHeader  `json:"header"`
	Parent   messageHeader  `json:"parent_header"`
	Metadata struct{}       `json:"metadata"`
	Content  messageContent `json:"content"`
	Buffers  []string       `json:"buffers"`
}

type messageHeader struct {
	ID      string `json:"msg_id,omitempty"`
	Type    string `json:"msg_type,omitempty"`
	Session string `json:"session,omitempty"`
	Version string `json:"version,omitempty"`
	Date    string `json:"date,omitempty"`
	User    string `json:"username,omitempty"`
}

// messageContent has the fields of the contents that are sent and read here.
type messageContent struct {
	Code    string          `json:"code,omitempty"`
	Stored  bool            `json:"store_history,omitempty"`
	Stops   bool            `json:"stop_on_error,omitempty"`
	State   string          `json:"execution_state,omitempty"`
	Status  string          `json:"status,omitempty"`
	Text    json.RawMessage `json:"text,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
	Message string          `json:"evalue,omitempty"`
}

// Run sends a cell, and reads until its reply and the kernel's idle status have arrived.
func (s *overJupyter) Run(ctx context.Context, code string) (out Output, err error) {
	s.last++
	id := "bench-" + strconv.Itoa(s.last)
	ask := message{Channel: "shell", Buffers: []string{}, Content: messageContent{Code: code, Stored: true, Stops: true},
		Header: messageHeader{ID: id, Type: "execute_request", Session: "bench", Version: "5.3", Date: "2026-01-01T00:00:00Z", User: "bench"}}
	if err := wsjson.Write(ctx, s.socket, ask); err != nil {
		return out, err
	}
	for replied, idle := false, false; !replied || !idle; {
		var m message
		if err := wsjson.Read(ctx, s.socket, &m); err != nil {
			return out, err
		}
		if m.Parent.ID != id {
			continue
		}
		idle = idle || m.Content.State == "idle"
		if m.Channel == "shell" {
			if replied = true; m.Content.Status != "ok" {
				return out, fmt.Errorf("a cell ended with %s: %s", m.Content.Status, m.Content.Message)
			}
		}
		out.add(m.Content)
	}
	return out, nil
}

// add adds the output of a message.
func (o *Output) add(c messageContent) {
	var text string
	if json.Unmarshal(c.Text, &text) == nil {
		o.Text += text
	}
	var data struct {
		Plain string `json:"text/plain"`
		PNG   []byte `json:"image/png"`
	}
	if json.Unmarshal(c.Data, &data) == nil {
		o.Text += data.Plain
		if data.PNG != nil {
			o.PNG = data.PNG
		}
	}
}

func (s *overJupyter) Time(ctx context.Context, code string, rounds int) ([]time.Duration, error) {
	return timeEach(ctx, s, code, rounds)
}

func (s *overJupyter) Close(ctx context.Context) error {
	_ = s.socket.Close(websocket.StatusNormalClosure, "")
	return s.c.Call(ctx, http.MethodDelete, s.path, nil, nil)
}
