package egress

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"cellhold"
)

// Bounds of DNS, RFC 1035.
const (
	maxName  = 253
	maxLabel = 63
)

// Host is a name or an address in the one form in which it is compared, looked up and dialled. It is
// made by ParseHost only: whatever was written differently before and means the same is equal here,
// so that no two parsers can read it differently.
type Host struct {
	name string     // lower case, ASCII, without a dot at the end; empty for an address
	addr netip.Addr // without a zone, IPv4 never in IPv6's clothes; invalid for a name
}

// String returns the name or the address.
func (h Host) String() string {
	if h.name != "" {
		return h.name
	}
	return h.addr.String()
}

// ParseHost reads a name or an address. Names of other scripts become punycode, so a letter that only
// looks like another is never equal to it. Addresses are taken in their usual form only: decimal,
// octal, hexadecimal and short ones are refused, because programs disagree about what they mean.
func ParseHost(s string) (Host, error) {
	if len(s) > 4*maxName || !utf8.ValidString(s) { // other scripts take more bytes before than after
		return Host{}, badHost("it is too long, or not text")
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(inner); ok && err == nil && a.Is6() {
			return fromAddr(a)
		}
		return Host{}, badHost("it is no address")
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return fromAddr(a)
	}
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(s, "."))
	if err != nil {
		return Host{}, badHost("it is no name of the internet")
	}
	if err := checkName(name); err != nil {
		return Host{}, err
	}
	return Host{name: name}, nil
}

func fromAddr(a netip.Addr) (Host, error) {
	if a.Zone() != "" {
		return Host{}, badHost("an address with a zone means something on one machine only")
	}
	return Host{addr: a.Unmap()}, nil
}

// checkName looks at the canonical form once more: what is sent must be what was checked, whatever
// the library above lets through.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return badHost("it is empty or too long")
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > maxLabel {
			return badHost("one of its parts is empty or too long")
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return badHost("it has characters that names do not have")
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return badHost("one of its parts begins or ends with a hyphen")
		}
	}
	// 0x7f.1 and 2130706433 are addresses to some programs, and names to others.
	last := labels[len(labels)-1]
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return badHost("it is a number in disguise; write addresses in their usual form")
	}
	return nil
}

func badHost(why string) error {
	return cellhold.Errorf(cellhold.Invalid, "That is not a host that can be reached: %s.", why)
}

// pattern is one entry of an allowlist.
type pattern struct {
	host   Host
	suffix string // with its leading dot, for *.example.org; host is zero then
}

// parsePattern reads an entry of an allowlist.
func parsePattern(s string) (pattern, error) {
	rest, wild := strings.CutPrefix(s, "*.")
	h, err := ParseHost(rest)
	if err != nil {
		return pattern{}, cellhold.Errorf(cellhold.Invalid,
			"%.80q cannot be in a list of hosts: write a name such as example.org or *.example.org, without a scheme, a path or a port.", s)
	}
	if !wild {
		return pattern{host: h}, nil
	}
	if h.name == "" || !strings.Contains(h.name, ".") {
		return pattern{}, cellhold.Errorf(cellhold.Invalid, "%.80q is too wide for a list of hosts: name two parts after the *, such as *.example.org.", s)
	}
	return pattern{suffix: "." + h.name}, nil
}

func (p pattern) String() string {
	if p.suffix != "" {
		return "*" + p.suffix
	}
	return p.host.String()
}

func (p pattern) matches(h Host) bool {
	if p.suffix != "" {
		return strings.HasSuffix(h.name, p.suffix) // the dot is part of it: badexample.org does not match
	}
	return p.host == h
}

// covers reports whether p matches all that q matches.
func (p pattern) covers(q pattern) bool {
	if q.suffix == "" {
		return p.matches(q.host)
	}
	return p.suffix != "" && strings.HasSuffix(q.suffix, p.suffix)
}
