package guest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// portVersion is the first version of the protocol with connections to ports.
const portVersion = 7

// DialPort connects to a port on the loopback of the sandbox. The context bounds only the call. The caller must close the
// connection, and bound each read and write: the bytes come from untrusted code. The error is NotFound if no program
// listens on the port, and Invalid if the port cannot be reached. It is Exhausted if the sandbox has too many connections,
// and Unsupported if the agent is too old.
func (c *Client) DialPort(ctx context.Context, port int) (net.Conn, error) {
	if port < 1 || port > guestapi.MaxPort {
		return nil, cellhold.Errorf(cellhold.Invalid, "Invalid port %d: use 1 to %d.", port, guestapi.MaxPort)
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, noAnswer(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	bytes, err := portOf(conn, port)
	if !stop() || err != nil {
		abort(conn)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("connect to port %d: %w", port, c.outdated(ctx, err, portVersion))
	}
	return bytes, nil
}

// portOf turns a connection to the agent into a connection to a port.
func portOf(conn net.Conn, port int) (net.Conn, error) {
	resp, bytes, err := upgrade(conn, http.MethodPost, "/v1/ports/"+strconv.Itoa(port), guestapi.PortUpgrade)
	if err != nil {
		return nil, cellhold.Wrap(cellhold.Unavailable, err, "The sandbox does not answer.")
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, problem(resp)
	}
	return bytes, nil
}
