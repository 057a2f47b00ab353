package jupyter

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// KernelInfo is a kernel's description of itself. It is foreign text.
type KernelInfo struct {
	ProtocolVersion       string       `json:"protocol_version"`
	Implementation        string       `json:"implementation"`
	ImplementationVersion string       `json:"implementation_version"`
	Banner                string       `json:"banner"`
	LanguageInfo          LanguageInfo `json:"language_info"`
	SupportedFeatures     []string     `json:"supported_features"`
}

// LanguageInfo is the part of KernelInfo that a notebook keeps.
type LanguageInfo struct {
	Name           string          `json:"name"`
	Version        string          `json:"version,omitempty"`
	MIMEType       string          `json:"mimetype,omitempty"`
	FileExtension  string          `json:"file_extension,omitempty"`
	PygmentsLexer  string          `json:"pygments_lexer,omitempty"`
	CodeMirrorMode json.RawMessage `json:"codemirror_mode,omitempty"` // a string or an object
	NBConvert      string          `json:"nbconvert_exporter,omitempty"`
}

// ExecuteRequest asks a kernel to run code.
type ExecuteRequest struct {
	MsgID        string // for a caller that needs the id before the first answer; empty means a new id
	Code         string
	Silent       bool // no execute_input, no result, no history, no execution count
	StoreHistory bool
	AllowStdin   bool            // the code can ask for input; answer with InputReply
	Metadata     json.RawMessage // metadata of the message, a JSON object; empty means none

	// Header is the header of the message, with MsgID in it. Empty means a header of the client.
	Header json.RawMessage
	// UserExpressions is an object with expressions that the kernel evaluates after the code. Empty means none.
	UserExpressions json.RawMessage
}

// ownMark begins the ids of the client's own requests. Their answers are for the client only.
const ownMark = "own-"

// IsOwn reports whether a request with this id was made by NewOwnID, in this client or another one. Code in a
// kernel can send messages with such an id.
func IsOwn(msgID string) bool { return strings.HasPrefix(msgID, ownMark) }

// NewMsgID returns the id for a later request.
func (c *Client) NewMsgID() string {
	return *c.session.Load() + "_" + strconv.FormatUint(c.counter.Add(1), 10)
}

// NewOwnID returns the id for a later request whose answers only the caller needs.
func (c *Client) NewOwnID() string { return ownMark + c.NewMsgID() }

// Execute sends an execute_request and returns its message id. It does not wait. The answers go to
// OnMessage, with that id in their parent header.
func (c *Client) Execute(r ExecuteRequest) (string, error) {
	if r.MsgID == "" {
		r.MsgID = c.NewMsgID()
	}
	c.transport.hold()
	m := c.message(Shell, r.MsgID, "execute_request")
	m.Metadata, m.RawHeader = r.Metadata, r.Header
	var err error
	if m.Content, err = r.content(); err != nil {
		return "", fmt.Errorf("execute_request: encode: %w", err)
	}
	return r.MsgID, c.SendMessage(m, maxWaiting)
}

// InputReply answers an input_request.
func (c *Client) InputReply(value string) error {
	_, err := c.Send(Stdin, "input_reply", map[string]string{"value": value})
	return err
}

// Interrupt asks the kernel to interrupt its running code, and waits for the reply. The interrupted code
// can still continue.
func (c *Client) Interrupt(ctx context.Context) error {
	return c.command(ctx, "interrupt_request", struct{}{})
}

// Shutdown asks the kernel to end, and waits for its answer. It does not wait for the end of the process.
func (c *Client) Shutdown(ctx context.Context, restart bool) error {
	return c.command(ctx, "shutdown_request", map[string]bool{"restart": restart})
}

func (c *Client) command(ctx context.Context, msgType string, content any) error {
	m, err := c.Request(ctx, Control, msgType, content)
	if err != nil {
		return err
	}
	var reply struct{ Status, EName, EValue string }
	if err := json.Unmarshal(m.Content, &reply); err != nil {
		return fmt.Errorf("%s: read the reply: %w", msgType, err)
	}
	// Kernels with a protocol before 5.1 send no status.
	if reply.Status != "" && reply.Status != "ok" {
		return fmt.Errorf("%s: the kernel answered %.20q: %.100q %.200q", msgType, reply.Status, reply.EName, reply.EValue)
	}
	return nil
}

// Request sends a request and waits for its reply. On Shell the reply comes after the running cell; on Control it
// can come before. The reply goes to OnMessage as well. The id is one of NewOwnID.
func (c *Client) Request(ctx context.Context, ch Channel, msgType string, content any) (Message, error) {
	id, reply := c.NewOwnID(), make(chan Message, 1)
	c.mu.Lock()
	if c.ending {
		c.mu.Unlock()
		return Message{}, fmt.Errorf("%s: %w", msgType, c.lost())
	}
	c.waiting[id] = reply
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
	}()
	if err := c.send(ch, id, msgType, content); err != nil {
		if c.Err() != nil { // the reason for which the connection was closed
			err = fmt.Errorf("%s: %w", msgType, c.lost())
		}
		return Message{}, err
	}
	select {
	case m := <-reply:
		return m, nil
	case <-ctx.Done():
		return Message{}, fmt.Errorf("%s: %w", msgType, context.Cause(ctx))
	case <-c.ended:
	}
	select {
	case m := <-reply: // the reply can be one of the last messages
		return m, nil
	default:
		return Message{}, fmt.Errorf("%s: %w", msgType, c.lost())
	}
}

// Send sends one message and returns its message id, which is one of NewOwnID. content must encode as a JSON
// object.
func (c *Client) Send(ch Channel, msgType string, content any) (string, error) {
	id := c.NewOwnID()
	return id, c.send(ch, id, msgType, content)
}

// SendMessage sends a message as it is. It does not wait for the kernel. If more than limit bytes would wait for a
// kernel that does not read, the error is ErrFull. The answers go to OnMessage.
func (c *Client) SendMessage(m Message, limit int) error {
	if err := c.transport.send(m, limit); err != nil {
		return fmt.Errorf("%.100s: %w", m.Header.MsgType, err)
	}
	return nil
}

func (c *Client) send(ch Channel, id, msgType string, content any) error {
	return c.sendWith(c.message(ch, id, msgType), content)
}

// message returns a message with a header of the client.
func (c *Client) message(ch Channel, id, msgType string) Message {
	return Message{Channel: ch, Header: Header{
		MsgID: id, MsgType: msgType, Session: *c.session.Load(), Username: "jupyter",
		Date:    time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"),
		Version: "5.3", // the first version with interrupts by message; kernels still answer it
	}}
}

func (c *Client) sendWith(m Message, content any) error {
	b, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("%s: encode: %w", m.Header.MsgType, err)
	}
	m.Content = b
	return c.SendMessage(m, maxWaiting)
}

// lost returns an error with the reason of the end. It is never nil.
func (c *Client) lost() error {
	if err := c.Err(); err != nil {
		return fmt.Errorf("connection to the kernel lost: %w", err)
	}
	return fmt.Errorf("connection to the kernel is closed")
}
