package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Exposure describes the reach of a listener and its protection.
type Exposure struct {
	Addr         string // host:port; an empty host means all interfaces
	Auth         bool   // callers need a token
	TLS          bool   // the listener speaks TLS
	InsecureHTTP bool   // the operator allows plain HTTP, because a proxy speaks TLS
	Gateway      bool   // only the gateway of the network and loopback can connect, see OnlyFrom
}

// CheckExposure refuses listeners on which other people could run code or read tokens. Beyond loopback a
// server always needs tokens. It also needs TLS, because over plain HTTP the network can read the tokens.
// InsecureHTTP is the exception: behind a proxy that speaks TLS, or in a container whose port is published on
// the host's loopback. Gateway is the exception for tokens, for such a container only. This package cannot check how the
// port is published. At other addresses of the host, the engine can pass on connections of other machines and
// containers, and these come by the gateway too.
func CheckExposure(e Exposure) error {
	loopback, err := isLoopback(e.Addr)
	if err != nil {
		return fmt.Errorf("address %q: %w", e.Addr, err)
	}
	switch {
	case loopback:
		return nil
	case !e.Auth && e.Gateway:
		return nil
	case !e.Auth:
		return fmt.Errorf("address %q is open to other machines, and without authentication any of them could run code: turn authentication on, or listen on 127.0.0.1; in a container whose port is published at 127.0.0.1 of the host, add --trust-gateway", e.Addr)
	case !e.TLS && !e.InsecureHTTP:
		return fmt.Errorf("address %q is open to other machines, and plain HTTP would send tokens unencrypted: listen on 127.0.0.1, use TLS, or add --insecure-http behind a proxy that speaks TLS", e.Addr)
	}
	return nil
}

// isLoopback reports whether only this machine can reach the address. A name other than localhost can resolve
// to any address at any time, so it counts as reachable.
func isLoopback(addr string) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, errors.New("not of the form host:port")
	}
	if host == "localhost" {
		return true, nil
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback(), nil
}
