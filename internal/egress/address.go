package egress

import (
	"net"
	"net/netip"
)

// special are the addresses that are refused unless the operator allows them, from the registries of special-purpose
// addresses (RFC 6890 and its updates) and the documentation of the clouds. For IPv6 only 2000::/3 belongs to the public
// internet. All other IPv6 addresses are refused, so they need no entries here: unique local, site-local, link-local,
// NAT64 and others. A mapped address is judged as its IPv4 address.
var special = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "of this host"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by a provider's customers"}, // and Alibaba's metadata, 100.100.100.200
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("168.63.129.16/32"), "of a cloud's metadata"}, // Azure; apart from that a public address
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},              // and most clouds' metadata
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"}, // and Oracle's metadata, 192.0.0.192
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation"},
	{netip.MustParsePrefix("192.31.196.0/24"), "reserved"},
	{netip.MustParsePrefix("192.52.193.0/24"), "reserved"},
	{netip.MustParsePrefix("192.88.99.0/24"), "of a 6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("192.175.48.0/24"), "reserved"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"}, // and broadcast
	{netip.MustParsePrefix("2001::/23"), "reserved"},   // Teredo, ORCHID, benchmarks
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4, which hides an IPv4 address"},
	{netip.MustParsePrefix("2620:4f:8000::/48"), "reserved"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation"},
}

var global6 = netip.MustParsePrefix("2000::/3")

// notPublic returns the reason why an address is not public, or "" if it is public.
func notPublic(a netip.Addr) string {
	a = a.Unmap()
	if !a.IsValid() || a.Zone() != "" {
		return "invalid, or has a zone"
	}
	if a.Is6() && !global6.Contains(a) {
		return "not of the public internet"
	}
	for _, s := range special {
		if s.prefix.Contains(a) {
			return s.what
		}
	}
	if a.Is6() && isatap(a) {
		return "ISATAP, which hides an IPv4 address"
	}
	return ""
}

// isatap reports whether the interface part of an address contains an IPv4 address (RFC 5214).
func isatap(a netip.Addr) bool {
	b := a.As16()
	return b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// Addresses defines the addresses that can be dialled. The zero value allows the public internet.
type Addresses struct {
	Allow []netip.Prefix // allowed, even if not public
	Deny  []netip.Prefix // refused in addition; takes precedence over Allow
}

// refuses returns the reason why an address must not be dialled, or "" if it is allowed.
func (s *Addresses) refuses(a netip.Addr) string {
	a = a.Unmap()
	for _, p := range s.Deny {
		if p.Contains(a) {
			return "denied by the operator"
		}
	}
	for _, p := range s.Allow {
		if p.Contains(a) && a.Zone() == "" {
			return ""
		}
	}
	if why := notPublic(a); why != "" {
		return why
	}
	if ours(a) {
		return "of the host itself"
	}
	return ""
}

// ours reports whether the address belongs to this host. The server dials from the host, so a service of the host, or the
// server's own API, would take the connection for a local client. If the host's addresses cannot be read, every address
// counts as the host's.
func ours(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, x := range all {
		if n, ok := x.(*net.IPNet); ok {
			if b, ok := netip.AddrFromSlice(n.IP); ok && b.Unmap() == a {
				return true
			}
		}
	}
	return false
}
