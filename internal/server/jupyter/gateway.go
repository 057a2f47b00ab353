package jupyter

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"cellhold/internal/server/jupyter/framing"
)

// Gateway clients of jupyter_server cannot read binary messages of the older form. Its proxy decodes each message as UTF-8,
// and reads no more messages after an error. Its client for nbclient ends at such a message. In the other direction, the
// proxy sends a binary message of a browser as one of text.
//
// So these clients get messages without buffers.

// byPath marks a request whose token was in its path.
type byPath struct{}

// marked returns a context of a request whose token was in its path.
func marked(ctx context.Context) context.Context { return context.WithValue(ctx, byPath{}, true) }

// isGateway reports whether a request is of a gateway client of jupyter_server. The proxy has the name of its library. The
// client for nbclient sends no name and no token, so its token is in the path.
func isGateway(r *http.Request) bool {
	agent := r.UserAgent()
	return strings.Contains(agent, "Tornado/") || agent == "" && r.Context().Value(byPath{}) != nil
}

// maxRewritten is the limit of a content that is written again without the places of its buffers.
const maxRewritten = 1 << 20

// withoutBuffers returns a message without its buffers. Widgets could not use a message with the places of missing buffers.
func withoutBuffers(f framing.Frame) framing.Frame {
	f.Buffers = nil
	var content, data map[string]json.RawMessage
	if len(f.Content) > maxRewritten || json.Unmarshal(f.Content, &content) != nil || json.Unmarshal(content["data"], &data) != nil || data["buffer_paths"] == nil {
		return f
	}
	data["buffer_paths"] = json.RawMessage("[]")
	var err error
	if content["data"], err = json.Marshal(data); err != nil {
		return f
	}
	if text, err := json.Marshal(content); err == nil {
		f.Content = text
	}
	return f
}

// droppedNote is the text for a client that gets a message without its buffers.
const droppedNote = "The server dropped binary data of a message here, because Jupyter's gateway client cannot read it. A widget can be incomplete.\n"

// noteOf returns a message with droppedNote. Front ends show it with the same cell as f.
func noteOf(f framing.Frame) (framing.Frame, error) {
	var of struct {
		Session string `json:"session"`
	}
	_ = json.Unmarshal(f.Header, &of) // package wire has checked it
	header, err := json.Marshal(map[string]string{"msg_id": rand.Text(), "msg_type": "stream", "session": of.Session, "username": "kernel",
		"date": timeText(time.Now()), "version": "5.3"})
	if err != nil {
		return framing.Frame{}, err
	}
	content, err := json.Marshal(map[string]string{"name": "stderr", "text": droppedNote})
	return framing.Frame{Channel: "iopub", Header: header, Parent: f.Parent, Content: content}, err
}

// sendText sends a message of the kernel to a gateway client. The first message without its buffers in answer to a request
// has a note before it.
func (c *channel) sendText(quiet context.Context, f framing.Frame) error {
	if len(f.Buffers) == 0 {
		return c.sendOne(quiet, f)
	}
	if !bytes.Equal(c.noted, f.Parent) {
		c.noted = bytes.Clone(f.Parent) // it shares memory with the whole message
		note, err := noteOf(f)
		if err == nil {
			err = c.sendOne(quiet, note)
		}
		if err != nil {
			return err
		}
	}
	return c.sendOne(quiet, withoutBuffers(f))
}
