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

// nextTimeout bounds the agent's answer to a request for the next connection of an egress proxy.
const nextTimeout = 30 * time.Second

// maxProxy bounds the answer about a proxy, which has one number.
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

// Next opens a connection for the next program in the guest that uses the egress proxy. The bytes that the caller
// reads come from the program. The caller must close the connection.
func (c *Client) Next(ctx context.Context, name string) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	// Close would end only one direction of a stream of the link. The deadline ends a read that waits.
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

// upgrade asks the agent to change the protocol of a connection. It returns the answer, whose status can
// differ from 101, and the connection after the answer's headers.
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
	bounded.N = 1<<63 - 1 // from here on the reader sets the bounds
	_ = conn.SetDeadline(time.Time{})
	return resp, &ahead{Conn: conn, r: r}, nil
}

// ahead is a connection from which bytes were read ahead.
type ahead struct {
	net.Conn
	r *bufio.Reader
}

func (a *ahead) Read(p []byte) (int, error) { return a.r.Read(p) }

// CloseWrite tells the guest that no more bytes follow.
func (a *ahead) CloseWrite() error {
	if half, ok := a.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return a.Conn.Close()
}
