//go:build !linux

package zmtp

import "net"

// quiet is only for Linux; elsewhere Hold does nothing.
func quiet(nc net.Conn) (net.Conn, error) { return nc, nil }

// light is only for Linux.
func light(nc net.Conn) (net.Conn, error) { return nc, nil }
