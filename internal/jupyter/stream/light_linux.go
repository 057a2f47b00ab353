package stream

import (
	"net"

	"cellhold/internal/rawio"
)

// light returns a connection with the socket of nc whose reads and writes cost less. If nc is not a Unix socket, it returns
// nc.
func light(nc net.Conn) net.Conn {
	if u, ok := nc.(*net.UnixConn); ok {
		if l, err := rawio.Conn(u); err == nil {
			return l
		}
	}
	return nc
}
