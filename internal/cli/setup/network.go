package setup

import (
	"net"
	"net/netip"
)

// Network returns the network to listen on. For an IPv4 address it is tcp4: with tcp and 0.0.0.0, Go would also
// listen on all IPv6 addresses.
func Network(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}
