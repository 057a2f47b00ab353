// Package introspection answers questions about code: completions, descriptions of objects, whether code is complete, and
// the code that ran before.
//
// It asks the kernel by the raw messages that Jupyter's clients use. A kernel answers between two cells. So a busy
// kernel is an error at once, and each question has a deadline. A question never resumes a hibernated session. The kernel
// is hostile: each answer has limits. The code that ran before comes from the records of the server, not from the kernel.
package introspection

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"cellhold"
	"cellhold/internal/session"
)

// answerTime limits the wait for the answer of a kernel. Completion of a large namespace takes up to a second.
const answerTime = 5 * time.Second

// Limits of an answer. A terminal shows less.
const (
	maxAnswer     = 2 << 20 // bytes of the content of a kernel's message; larger answers are refused
	maxElements   = 20000   // elements of the content: decoded, a megabyte of empty elements takes a hundred
	maxMatches    = 1000
	maxMatch      = 1 << 10   // bytes of one match; a longer one is left out
	maxMatchBytes = 256 << 10 // bytes of all matches
	maxTypes      = 8         // MIME types of a description
	maxTypeName   = 100       // bytes of the name of a type
	maxText       = 512 << 10 // bytes of one text of a description
	maxIndent     = 200       // characters
)

// questions are the questions that are asked at the same time, by all callers. Each can need some megabytes.
var questions = make(chan struct{}, 32)

// Session is a session whose kernels can be asked. session.Session describes the methods.
type Session interface {
	Info() cellhold.Session
	Wire(ctx context.Context, k cellhold.KernelID, client string) (session.Wire, error)
}

// ask sends a request to a kernel, and decodes the content of the reply into out. An empty k means the first kernel.
func ask(ctx context.Context, s Session, k cellhold.KernelID, kind string, content, out any) error {
	k, err := askable(s.Info(), k)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	select {
	case questions <- struct{}{}:
		defer func() { <-questions }()
	case <-ctx.Done():
		return cellhold.Errorf(cellhold.Unavailable, "%d questions to kernels are open, the limit of the server. Retry later.", cap(questions))
	}
	w, err := s.Wire(ctx, k, "")
	if err != nil {
		return late(ctx, k, err)
	}
	defer w.Close()
	id := rand.Text()
	if err := w.Send(ctx, request(id, kind, content)); err != nil {
		return late(ctx, k, err)
	}
	reply, err := await(ctx, w, id)
	if err != nil {
		return late(ctx, k, err)
	}
	return decode(k, reply, out)
}

// askable returns the id of a kernel that can answer now. Other kernels would answer much later, or never.
func askable(s cellhold.Session, id cellhold.KernelID) (cellhold.KernelID, error) {
	switch s.State {
	case cellhold.SessionHibernated:
		return "", cellhold.Errorf(cellhold.Conflict, "The session is hibernated, so its kernel cannot answer. Resume the session, or run a cell, and retry.")
	case cellhold.SessionEnded:
		return "", cellhold.Errorf(cellhold.NotFound, "The session has ended.")
	}
	for _, k := range s.Kernels {
		if id != "" && k.ID != id {
			continue
		}
		switch {
		case k.State == cellhold.KernelDead:
			return "", cellhold.Errorf(cellhold.Conflict, "Kernel %s is dead, so it cannot answer. Restart the kernel and retry.", k.ID)
		case k.State == cellhold.KernelBusy || k.Queued > 0:
			return "", cellhold.Errorf(cellhold.Conflict, "Kernel %s is busy with a cell, and answers only between cells. Retry when its cells are done, or interrupt the cell.", k.ID)
		case k.State != cellhold.KernelIdle:
			return "", cellhold.Errorf(cellhold.Conflict, "Kernel %s is %s, so it cannot answer. Retry when it is idle.", k.ID, k.State)
		}
		return k.ID, nil
	}
	if id == "" {
		return "", cellhold.Errorf(cellhold.Unavailable, "The session has no kernel yet. Retry.")
	}
	return "", cellhold.Errorf(cellhold.NotFound, "Kernel %.64q not found in the session.", id)
}

// late returns the error of a question. If the deadline has passed, it names the deadline.
func late(ctx context.Context, k cellhold.KernelID, err error) error {
	if ctx.Err() != context.DeadlineExceeded {
		return err
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "Kernel %s did not answer within %s. Its code can prevent answers, or a cell runs. Retry when its cells are done, or restart it.", k, answerTime)
}

func request(id, kind string, content any) session.Frame {
	text := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err) // texts and numbers can always be encoded
		}
		return b
	}
	header := map[string]string{"msg_id": id, "msg_type": kind + "_request", "session": id, "username": "server", "version": "5.3",
		"date": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")}
	return session.Frame{Channel: "shell", Header: text(header), Content: text(content)}
}

// await returns the content of the reply to a request. The wire gives replies only to the client of their request, but
// also all messages on iopub.
func await(ctx context.Context, w session.Wire, id string) (json.RawMessage, error) {
	for {
		// Receive returns messages that wait also after the deadline, and a kernel can send without end.
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := w.Receive(ctx)
		if err != nil {
			return nil, err
		}
		w.Written()
		var parent struct {
			MsgID string `json:"msg_id"`
		}
		if f.Channel == "shell" && json.Unmarshal(f.Parent, &parent) == nil && parent.MsgID == id {
			return f.Content, nil
		}
	}
}

// decode decodes the content of a reply. The kernel, or the server in its place, can refuse the request.
func decode(k cellhold.KernelID, content json.RawMessage, out any) error {
	if len(content) > maxAnswer {
		return cellhold.Errorf(cellhold.Unavailable, "The answer of kernel %s has %d bytes; the limit is %d bytes. Ask about less code.", k, len(content), maxAnswer)
	}
	if elements(content) > maxElements {
		return cellhold.Errorf(cellhold.Unavailable, "The answer of kernel %s has more than %d elements, the limit. Ask about less code.", k, maxElements)
	}
	var head struct {
		Status string `json:"status"`
		Text   string `json:"evalue"`
	}
	if err := json.Unmarshal(content, &head); err != nil {
		return invalid(k, err)
	}
	if head.Status == "error" || head.Status == "aborted" {
		if head.Text == "" {
			head.Text = "it gave no reason"
		}
		return cellhold.Errorf(cellhold.Unavailable, "Kernel %s cannot answer: %.300q. Restart it if this repeats.", k, head.Text)
	}
	if err := json.Unmarshal(content, out); err != nil {
		return invalid(k, err)
	}
	return nil
}

// elements returns the number of elements of JSON. It is exact for valid JSON without empty lists and objects.
func elements(content []byte) (n int) {
	quoted := false
	for i := 0; i < len(content); i++ {
		switch c := content[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}

func invalid(k cellhold.KernelID, err error) error {
	return cellhold.Wrap(cellhold.Unavailable, err, "The answer of kernel %s does not have the form of Jupyter's protocol. Restart the kernel if this repeats.", k)
}
