package jupytertest

import (
	"encoding/json"
	"errors"
	"syscall"

	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/stream"
)

// ErrInterrupted is the error of waits in a cell that is interrupted or whose kernel is killed.
var ErrInterrupted = errors.New("KeyboardInterrupt")

// Cell is one execute_request for a script. Only the script's goroutine can call its methods.
type Cell struct {
	Code string
	// NoReply and NoIdle suppress the reply and the idle status at the end.
	NoReply, NoIdle bool

	k          *Kernel
	r          request
	interrupts chan struct{}
	allowStdin bool
	silent     bool
	// expressions are the request's user_expressions. The reply has the text of each expression as its value.
	expressions map[string]string
	after       []func()
	failed      map[string]any // the error reply, if the cell failed
}

// execute runs the script for one request.
func (k *Kernel) execute(r request) {
	var q struct {
		Code        string            `json:"code"`
		Silent      bool              `json:"silent"`
		AllowStdin  bool              `json:"allow_stdin"`
		Expressions map[string]string `json:"user_expressions"`
	}
	json.Unmarshal(r.Content, &q)
	c := &Cell{Code: q.Code, k: k, r: r, interrupts: make(chan struct{}), allowStdin: q.AllowStdin, silent: q.Silent, expressions: q.Expressions}
	k.mu.Lock()
	if !q.Silent {
		k.count++
	}
	count := k.count
	k.interrupt = c.interrupts
	k.mu.Unlock()

	k.status("busy", r.Message)
	c.send("execute_input", map[string]any{"code": q.Code, "execution_count": count})
	k.script(c)
	k.mu.Lock()
	k.interrupt, k.inputs = nil, nil
	k.mu.Unlock()
	c.finish(count)
}

func (c *Cell) finish(count int) {
	values := map[string]any{}
	for name, text := range c.expressions {
		values[name] = map[string]any{"status": "ok", "data": map[string]string{"text/plain": text}, "metadata": struct{}{}}
	}
	reply := map[string]any{"status": "ok", "user_expressions": values, "payload": []any{}}
	if c.failed != nil {
		reply = c.failed
	}
	reply["execution_count"] = count
	if !c.NoReply {
		c.k.reply(c.r, "execute_reply", reply)
	}
	if !c.NoIdle {
		c.k.status("idle", c.r.Message)
	}
	for _, f := range c.after {
		f()
	}
}

// Send publishes a message about this cell.
func (c *Cell) Send(msgType string, content any) { c.k.publish(msgType, c.r.Message, of(content)) }

// send is Send for messages that a silent request suppresses.
func (c *Cell) send(msgType string, content any) {
	if !c.silent {
		c.Send(msgType, content)
	}
}

// Forge publishes a message with headers of its own.
func (c *Cell) Forge(m jupyter.Message) {
	c.k.toSubscribers(m.Header.MsgType, func(to link, topic []byte, key string) { c.k.must(to.send(topic, key, m)) })
}

// Ask sends an input_request, and does not wait for the answer. So the end of the cell can reach the client before the
// question, because they use different connections.
func (c *Cell) Ask(prompt string) {
	// A client's request can arrive shortly before its connection to stdin.
	select {
	case <-c.k.listens:
	case <-c.Interrupted():
		return
	case <-c.Killed():
		return
	}
	c.k.mu.Lock()
	stdin := c.k.stdin
	c.k.mu.Unlock()
	c.k.send(stdin, nil, "input_request", c.r.Message, of(map[string]any{"prompt": prompt, "password": false}))
}

// Stream writes to stdout or stderr.
func (c *Cell) Stream(name, text string) {
	c.send("stream", streamContent(name, text))
}

// Queue writes to stdout, but only into the memory of the kernel.
func (c *Cell) Queue(text string) {
	if c.k.memory != nil {
		c.k.memory.Add(stream.StdoutRecord, c.r.Header.MsgID, text)
	}
}

func streamContent(name, text string) map[string]string {
	return map[string]string{"name": name, "text": text}
}

// Display shows data under one MIME type.
func (c *Cell) Display(mime string, data any) {
	c.send("display_data", map[string]any{
		"data": map[string]any{mime: data}, "metadata": struct{}{}, "transient": struct{}{},
	})
}

// Result sends an execute_result.
func (c *Cell) Result(text string) {
	c.k.mu.Lock()
	count := c.k.count
	c.k.mu.Unlock()
	c.send("execute_result", map[string]any{
		"data": map[string]any{"text/plain": text}, "metadata": struct{}{}, "execution_count": count,
	})
}

// Fail sends an error, and makes the reply an error. Then the script must return.
func (c *Cell) Fail(name, message string) {
	content := map[string]any{"ename": name, "evalue": message, "traceback": []string{name + ": " + message}}
	c.send("error", content)
	c.failed = map[string]any{"status": "error", "ename": name, "evalue": message, "traceback": content["traceback"]}
}

// After runs f after the reply and the idle status.
func (c *Cell) After(f func()) { c.after = append(c.after, f) }

// Input asks the client for a line of text.
func (c *Cell) Input(prompt string) (string, error) {
	if !c.allowStdin {
		return "", errors.New("input was called, but the client does not allow it")
	}
	answer := make(chan string, 1)
	c.k.mu.Lock()
	c.k.inputs = answer
	c.k.mu.Unlock()
	c.Ask(prompt)
	select {
	case s := <-answer:
		return s, nil
	case <-c.Interrupted():
	case <-c.Killed():
	}
	return "", ErrInterrupted
}

// Interrupted returns a channel that is closed when the cell has been interrupted.
func (c *Cell) Interrupted() <-chan struct{} { return c.interrupts }

// Killed returns a channel that is closed when the kernel has died.
func (c *Cell) Killed() <-chan struct{} { return c.k.Dead() }

// Exit ends the kernel like os._exit. It sends nothing.
func (c *Cell) Exit(code int) { c.k.die(code, 0) }

// Kill ends the kernel by a signal.
func (c *Cell) Kill(s syscall.Signal) { c.k.die(0, s) }
