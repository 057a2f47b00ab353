package egress

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"cellhold"
)

// Limits of DNS (RFC 1035).
const (
	maxName  = 253
	maxLabel = 63
)

// Host is a name or an address in the canonical form in which it is compared, looked up and dialled. Only ParseHost creates
// it. Different spellings of a host give the same Host, so that no later parser can read a spelling differently.
type Host struct {
	name string     // lower case, ASCII, without a dot at the end; empty for an address
	addr netip.Addr // without a zone; IPv4 is never mapped to IPv6; invalid for a name
}

// String returns the name or the address.
func (h Host) String() string {
	if h.name != "" {
		return h.name
	}
	return h.addr.String()
}

// ParseHost reads a name or an address. Names in other scripts become punycode, so look-alike letters never compare as
// equal. Addresses must have their usual form. Decimal, octal, hexadecimal and short forms are refused, because programs
// disagree about their meaning.
func ParseHost(s string) (Host, error) {
	if len(s) > 4*maxName || !utf8.ValidString(s) { // names in other scripts are longer before the conversion
		return Host{}, badHost("it is too long, or not valid text")
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(inner); ok && err == nil && a.Is6() {
			return fromAddr(a)
		}
		return Host{}, badHost("it is not an address")
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return fromAddr(a)
	}
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(s, "."))
	if err != nil {
		return Host{}, badHost("it is not a valid host name")
	}
	if err := checkName(name); err != nil {
		return Host{}, err
	}
	return Host{name: name}, nil
}

func fromAddr(a netip.Addr) (Host, error) {
	if a.Zone() != "" {
		return Host{}, badHost("an address with a zone is only valid on one machine")
	}
	return Host{addr: a.Unmap()}, nil
}

// checkName checks the canonical form again, because the idna library could accept a wrong name. The checked name is the
// name that is sent.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return badHost("it is empty or too long")
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > maxLabel {
			return badHost("a part of the name is empty or too long")
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return badHost("it contains characters that are not allowed in names")
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return badHost("a part of the name begins or ends with a hyphen")
		}
	}
	// Some programs read 0x7f.1 and 2130706433 as addresses, others as names.
	last := labels[len(labels)-1]
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return badHost("it is an address in an unusual form; use a form such as 192.0.2.1")
	}
	return nil
}

func badHost(why string) error {
	return cellhold.Errorf(cellhold.Invalid, "Invalid host: %s.", why)
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
			"Invalid entry %.80q in the list of hosts: use a name such as example.org or *.example.org, without a scheme, a path or a port.", s)
	}
	if !wild {
		return pattern{host: h}, nil
	}
	if h.name == "" || !strings.Contains(h.name, ".") {
		return pattern{}, cellhold.Errorf(cellhold.Invalid, "The entry %.80q in the list of hosts is too wide: use at least two parts after the *, such as *.example.org.", s)
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

// covers reports whether p matches all hosts that q matches.
func (p pattern) covers(q pattern) bool {
	if q.suffix == "" {
		return p.matches(q.host)
	}
	return p.suffix != "" && strings.HasSuffix(q.suffix, p.suffix)
}
