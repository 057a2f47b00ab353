package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

const (
	// codeCommas bounds the commas in the first codeLevels levels of a request of code, and so its parts.
	codeLevels = 2
	codeCommas = 2 * guestapi.MaxRequirements
	// sayTime bounds the write of one line to the guest. hurryTime bounds all writes after Hurry.
	sayTime   = 10 * time.Second
	hurryTime = 2 * time.Second
)

// CodeConn is a connection on which code in the sandbox has asked for packages. The caller must close it.
type CodeConn struct {
	Request guestapi.CodeRequest // unchecked, but bounded
	conn    net.Conn

	mu   sync.Mutex
	last time.Time // deadline of all writes after Hurry; otherwise zero
}

// NextCode waits until code in the sandbox asks for packages. The error is NotFound if the agent's version
// does not support such requests, and Invalid if the request is not valid.
func (c *Client) NextCode(ctx context.Context) (*CodeConn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { abort(conn) })
	request, err := readCode(conn)
	if !stop() || err != nil {
		abort(conn)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("wait for a request of code for packages: %w", err)
	}
	return &CodeConn{Request: request, conn: conn}, nil
}

// readCode asks the agent for the next request, and reads it.
func readCode(conn net.Conn) (r guestapi.CodeRequest, err error) {
	resp, stream, err := upgrade(conn, http.MethodPost, "/v1/packages/requests", guestapi.CodeUpgrade)
	if err != nil {
		return r, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return r, problem(resp)
	}
	in := bufio.NewReader(stream)
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > guestapi.MaxCodeRequest {
			return r, cellhold.Errorf(cellhold.Invalid, "The code's request for packages is too long.")
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return r, err
		}
	}
	if !fits(line, codeLevels, codeCommas) || json.Unmarshal(line, &r) != nil {
		return r, cellhold.Errorf(cellhold.Invalid, "The code's request for packages is not the expected JSON.")
	}
	return r, nil
}

// Wait tells the guest that the host still works on the request.
func (c *CodeConn) Wait() error { return c.say(guestapi.CodeLine{Wait: true}) }

// Say sends a line of progress to the guest.
func (c *CodeConn) Say(line string) error { return c.say(guestapi.CodeLine{Say: line}) }

// Done sends the last answer.
func (c *CodeConn) Done(d guestapi.CodeDone) error { return c.say(guestapi.CodeLine{Done: &d}) }

func (c *CodeConn) say(what guestapi.CodeLine) error {
	line, err := json.Marshal(what)
	if err != nil {
		return err
	}
	c.setDeadline()
	if _, err = c.conn.Write(append(line, '\n')); err != nil {
		abort(c.conn) // part of the line can be sent, so no other line can follow
	}
	return err
}

func (c *CodeConn) setDeadline() {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := time.Now().Add(sayTime)
	if !c.last.IsZero() && c.last.Before(end) {
		end = c.last
	}
	_ = c.conn.SetWriteDeadline(end)
}

// Hurry ends all writes within two seconds, also one in progress. It can be called from any goroutine.
func (c *CodeConn) Hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now().Add(hurryTime)
	_ = c.conn.SetWriteDeadline(c.last)
}

// Close ends the connection.
func (c *CodeConn) Close() error { return c.conn.Close() }

// abort ends a connection at once. The deadline ends reads and writes, because Close ends only one direction of a
// stream of the link.
func abort(conn net.Conn) {
	_ = conn.SetDeadline(time.Unix(1, 0))
	_ = conn.Close()
}
