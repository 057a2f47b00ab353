package kernelproxy

import (
	"bytes"
	"cellhold/internal/cli/console"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/server/jupyter/framing"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	// maxBuffers is the limit of the buffers of a message. The server refuses messages with more.
	maxBuffers = 1020
	// maxExtra is space for the frames of a message that are not buffers.
	maxExtra = 32
	// maxFrames is the limit of the bytes of a message at a socket. Between the server's limit and this one, the program gets
	// a reply with the reason.
	maxFrames = guestapi.MaxWireMessage + 8<<20
	// restartTime limits the restart of a kernel.
	restartTime = 5 * time.Minute
)

// fromProgram passes a message of a program on. frames is nil for a message that is too large to be read.
func (p *Proxy) fromProgram(ctx context.Context, at, identity string, frames [][]byte) {
	if at == iopub {
		p.welcome(identity, string(frames[0]))
		return
	}
	if frames == nil {
		p.o.Note(fmt.Sprintf("A message on %s was dropped: it has more than %d bytes.", at, maxFrames))
		return
	}
	parts, err := jupyter.Open(p.key, frames)
	if err != nil { // other users of this machine can connect, and cannot sign
		p.wrong.Do(func() {
			p.o.Note(fmt.Sprintf("A message on %s was dropped: %v. Later ones are dropped without a note.", at, err))
		})
		return
	}
	f := framing.Frame{Channel: at, Header: parts[0], Parent: parts[1], Metadata: parts[2], Content: parts[3], Buffers: parts[4:]}
	h, reason := check(&f)
	isRequest := strings.HasSuffix(h.MsgType, "_request") && h.MsgID != ""
	switch {
	case reason != "" && isRequest && at != stdin:
		p.reply(at, identity, f, h, failed("Refused", reason))
	case reason != "":
		p.o.Note(fmt.Sprintf("A message on %s was dropped. %s", at, reason))
	case h.MsgType == "shutdown_request" && at != stdin:
		p.shutDown(ctx, at, identity, f, h)
	default:
		if isRequest && at != stdin {
			p.routes.add(route{h.MsgID, at, identity})
			p.ports[iopub].settle(ctx)
		}
		p.up.put(ctx, f, h.MsgID)
	}
}

// check returns the header of a message, and why the server would refuse the message. The server ends the connection after
// such a message, and with it the work of all programs.
func check(f *framing.Frame) (h jupyter.Header, reason string) {
	h, _, err := jupyter.DecodeHeader(f.Header)
	switch {
	case err != nil || h.MsgType == "":
		return jupyter.Header{}, "Its header is not valid."
	case len(f.Header) > guestapi.MaxClientHeader || len(f.Parent) > guestapi.MaxWireHeader:
		return h, fmt.Sprintf("A header of the message is too large: the limits are %d bytes, and %d bytes for a parent header.", guestapi.MaxClientHeader, guestapi.MaxWireHeader)
	case f.Size() > guestapi.MaxWireMessage:
		return h, fmt.Sprintf("The message has %d bytes: the limit is %d bytes.", f.Size(), guestapi.MaxWireMessage)
	case len(f.Buffers) > maxBuffers:
		return h, fmt.Sprintf("The message has %d buffers: the limit is %d.", len(f.Buffers), maxBuffers)
	}
	filled, err := framing.DecodeV1(bytes.Join(framing.EncodeV1(*f), nil)) // as the server does it
	if err != nil {
		return h, fmt.Sprintf("The message is damaged: %v.", err)
	}
	*f = filled
	return h, ""
}

// shutDown answers a request to end the kernel. Programs send it when a person closes a window, and the session can have
// other users: only its owner ends it, by name. A restart was asked for by its name.
func (p *Proxy) shutDown(ctx context.Context, at, identity string, f framing.Frame, h jupyter.Header) {
	var q struct {
		Restart bool `json:"restart"`
	}
	if json.Unmarshal(f.Content, &q) != nil || !q.Restart {
		p.o.Note(fmt.Sprintf("A program asked for the end of the kernel. The session continues: end it with cellhold session rm %s", p.o.Session))
		p.reply(at, identity, f, h, failed("NotEnded", fmt.Sprintf("The session continues. End it with: cellhold session rm %s", p.o.Session)))
		return
	}
	p.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, restartTime)
		defer cancel()
		if _, err := p.o.Client.Restart(ctx, p.o.Session, p.o.Kernel.ID); err != nil {
			p.reply(at, identity, f, h, failed("NotRestarted", console.Message(err).Error()))
			return
		}
		p.reply(at, identity, f, h, map[string]any{"status": "ok", "restart": true})
	})
}

// failed is the content of a reply with an error.
func failed(name, text string) map[string]any {
	return map[string]any{"status": "error", "ename": name, "evalue": text, "traceback": []string{text}}
}

// reply answers a request in place of the kernel.
func (p *Proxy) reply(at, identity string, f framing.Frame, h jupyter.Header, content map[string]any) {
	p.publish("status", f, map[string]any{"execution_state": "busy"})
	p.ports[at].send(identity, p.own(strings.TrimSuffix(h.MsgType, "_request")+"_reply", f, content))
	p.publish("status", f, map[string]any{"execution_state": "idle"})
}

// welcome tells a program that its subscription works, as kernels do since ipykernel 7. A program that waits for it loses no
// output of its first request.
func (p *Proxy) welcome(identity, topic string) {
	frames := p.own("iopub_welcome", framing.Frame{}, map[string]any{"subscription": topic})
	if topic != "" {
		frames = append([][]byte{[]byte(topic)}, frames...)
	}
	p.ports[iopub].send(identity, frames)
}

func (p *Proxy) publish(kind string, parent framing.Frame, content map[string]any) {
	p.ports[iopub].publish(append([][]byte{[]byte(kind)}, p.own(kind, parent, content)...))
}

// own returns the frames of a message of the proxy.
func (p *Proxy) own(kind string, parent framing.Frame, content map[string]any) [][]byte {
	text, err := json.Marshal(content)
	if err != nil {
		panic(err) // texts, lists of texts and booleans can always be encoded
	}
	return jupyter.Encode(p.key, jupyter.Message{Header: newHeader(kind, p.session), RawParent: parent.Header, Content: text})
}

// newHeader returns the header of a new message. Strict readers need six digits in its date.
func newHeader(kind, session string) jupyter.Header {
	return jupyter.Header{MsgID: rand.Text(), MsgType: kind, Session: session, Username: "kernel",
		Date: time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), Version: "5.3"}
}

// fromKernel passes a message of the kernel on: on iopub to all programs, on other channels to the program that asked. h and
// parent are the headers of the message.
func (p *Proxy) fromKernel(f framing.Frame, h, parent jupyter.Header) {
	frames := jupyter.Encode(p.key, jupyter.Message{RawHeader: f.Header, RawParent: f.Parent, Metadata: f.Metadata, Content: f.Content, Buffers: f.Buffers})
	switch f.Channel {
	case iopub:
		if n := p.ports[iopub].publish(append([][]byte{[]byte(h.MsgType)}, frames...)); n > 0 {
			p.o.Note("A program does not read its output in time. It loses some of it.")
		}
	case shell, control, stdin:
		if to, ok := p.routes.find(parent.MsgID, f.Channel); ok {
			p.ports[f.Channel].send(to.identity, frames)
		}
	}
}
