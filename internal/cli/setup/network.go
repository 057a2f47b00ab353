package setup

import (
	"net"
	"net/netip"
)

// Network returns the network to listen on. For 0.0.0.0 this is tcp4: Go would also listen on all IPv6 addresses.
func Network(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}
