package stream

import (
	"net"

	"cellhold/internal/rawio"
)

// light returns a connection whose calls cost little, if that is possible for nc.
func light(nc net.Conn) net.Conn {
	if u, ok := nc.(*net.UnixConn); ok {
		if l, err := rawio.Conn(u); err == nil {
			return l
		}
	}
	return nc
}
