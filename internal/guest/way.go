package guest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"cellhold/internal/guestapi"
)

// nextTimeout limits the time until the agent has answered a request to upgrade a connection, such as that of Next.
const nextTimeout = 30 * time.Second

// maxProxy is the maximum size in bytes of the agent's answer to OpenWay. The answer has only a port.
const maxProxy = 1 << 10

// OpenWay opens an egress proxy in the guest, or changes the settings of an open one.
func (c *Client) OpenWay(ctx context.Context, name string, w guestapi.Way) (guestapi.Proxy, error) {
	var p guestapi.Proxy
	body, err := json.Marshal(w)
	if err != nil {
		return p, err
	}
	r := request{method: http.MethodPut, path: "/v1/ways/" + name, body: bytes.NewReader(body)}
	if err := c.receive(ctx, r, maxProxy, &p); err != nil {
		return p, fmt.Errorf("open the egress proxy %q: %w", name, err)
	}
	if p.Port < 1 || p.Port > 65535 {
		return p, invalidData("an invalid port")
	}
	return p, nil
}

// CloseWay closes an egress proxy. If it is not open, CloseWay returns no error.
func (c *Client) CloseWay(ctx context.Context, name string) error {
	if err := c.call(ctx, request{method: http.MethodDelete, path: "/v1/ways/" + name}); err != nil {
		return fmt.Errorf("close the egress proxy %q: %w", name, err)
	}
	return nil
}

// Next opens a connection that the agent gives to the next program that uses the egress proxy. Next does not wait for
// this program. The caller reads the bytes of the program, and must close the connection.
func (c *Client) Next(ctx context.Context, name string) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	// On a stream of the link, Close does not end a read that waits. The deadline ends the read.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)); conn.Close() })
	next, err := wayOf(conn, name)
	if !stop() || err != nil {
		conn.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("next connection of the egress proxy %q: %w", name, err)
	}
	return next, nil
}

// wayOf turns a connection to the agent into a connection of an egress proxy.
func wayOf(conn net.Conn, name string) (net.Conn, error) {
	resp, stream, err := upgrade(conn, http.MethodPost, "/v1/ways/"+name+"/next", guestapi.Upgrade)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, problem(resp)
	}
	return stream, nil
}

// upgrade asks the agent to change the protocol of a connection. It returns the agent's answer, and the connection.
// Reads from the connection begin after the headers of the answer. The caller must check that the status is 101.
func upgrade(conn net.Conn, method, path, protocol string) (*http.Response, net.Conn, error) {
	_ = conn.SetDeadline(time.Now().Add(nextTimeout))
	_, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n", method, path, protocol)
	if err != nil {
		return nil, nil, err
	}
	bounded := &io.LimitedReader{R: conn, N: maxHeaders}
	r := bufio.NewReader(bounded)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, nil, err
	}
	bounded.N = 1<<63 - 1 // from here on, the caller limits the bytes that it reads
	_ = conn.SetDeadline(time.Time{})
	return resp, &ahead{Conn: conn, r: r}, nil
}

// ahead is a connection whose first bytes are already in a buffer.
type ahead struct {
	net.Conn
	r *bufio.Reader
}

func (a *ahead) Read(p []byte) (int, error) { return a.r.Read(p) }

// CloseWrite tells the guest that no more bytes follow. A connection that cannot close one direction is closed in both.
func (a *ahead) CloseWrite() error {
	if half, ok := a.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return a.Conn.Close()
}
