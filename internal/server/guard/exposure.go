package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Exposure says who can reach a listener and what protects it there.
type Exposure struct {
	Addr         string // host:port; an empty host means every interface
	Auth         bool   // callers need a token
	TLS          bool   // the listener speaks TLS
	InsecureHTTP bool   // the operator accepts plain HTTP: something in front of it speaks TLS
}

// CheckExposure refuses listeners on which strangers could run code or read tokens. Beyond
// loopback a server needs tokens, always; and it needs TLS, because over plain HTTP whoever sees
// one request has its token. The one exception must be named: behind a proxy that speaks TLS, or
// in a container whose port is published on the host's loopback, plain HTTP is right.
func CheckExposure(e Exposure) error {
	loopback, err := isLoopback(e.Addr)
	if err != nil {
		return fmt.Errorf("address %q: %w", e.Addr, err)
	}
	switch {
	case loopback:
		return nil
	case !e.Auth:
		return fmt.Errorf("address %q can be reached from other machines, where anyone could run code: leave authentication on, or listen on 127.0.0.1", e.Addr)
	case !e.TLS && !e.InsecureHTTP:
		return fmt.Errorf("address %q can be reached from other machines, which would send their tokens in the clear: listen on 127.0.0.1, use TLS, or allow plain HTTP behind a proxy that speaks TLS (--insecure-http)", e.Addr)
	}
	return nil
}

// isLoopback reports whether only this machine can reach the address. A name other than
// localhost may resolve to anything, today or tomorrow, so it counts as reachable.
func isLoopback(addr string) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, errors.New("is not host:port")
	}
	if host == "localhost" {
		return true, nil
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback(), nil
}
