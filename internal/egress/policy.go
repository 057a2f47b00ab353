package egress

import (
	"fmt"
	"slices"
	"strings"

	"cellhold"
)

// maxHosts bounds an allowlist, so that records stay small and comparisons fast.
const maxHosts = 100

// Policy defines the hosts that can be requested. The zero value allows none. It does not know addresses: the address of a
// name is checked when it is dialled, for all policies.
type Policy struct {
	mode  cellhold.EgressPolicy
	hosts []pattern
}

// NewPolicy reads a policy. An allowlist without hosts allows nothing.
func NewPolicy(e cellhold.Egress) (Policy, error) {
	switch e.Policy {
	case "", cellhold.EgressNone, cellhold.EgressPublic:
		if len(e.Hosts) > 0 {
			return Policy{}, cellhold.Errorf(cellhold.Invalid, "A list of hosts requires the policy allowlist.")
		}
		if e.Policy != cellhold.EgressPublic {
			return Policy{}, nil
		}
		return Policy{mode: cellhold.EgressPublic}, nil
	case cellhold.EgressAllowlist:
	default:
		return Policy{}, cellhold.Errorf(cellhold.Invalid, "The egress policy must be none, allowlist or public, not %.40q.", e.Policy)
	}
	if len(e.Hosts) > maxHosts {
		return Policy{}, cellhold.Errorf(cellhold.Invalid, "The allowlist has %d hosts; the limit is %d.", len(e.Hosts), maxHosts)
	}
	p := Policy{mode: cellhold.EgressAllowlist}
	for _, s := range e.Hosts {
		h, err := parsePattern(s)
		if err != nil {
			return Policy{}, err
		}
		p.hosts = append(p.hosts, h)
	}
	return p, nil
}

// None reports whether the policy allows nothing. Then no gate is needed.
func (p Policy) None() bool {
	return p.mode != cellhold.EgressPublic && (p.mode != cellhold.EgressAllowlist || len(p.hosts) == 0)
}

// Egress returns the policy in its recorded form, with hosts in canonical form.
func (p Policy) Egress() cellhold.Egress {
	e := cellhold.Egress{Policy: p.mode}
	if e.Policy == "" {
		e.Policy = cellhold.EgressNone
	}
	for _, h := range p.hosts {
		e.Hosts = append(e.Hosts, h.String())
	}
	return e
}

// Allows reports whether a host can be requested. If not, it also returns the reason.
func (p Policy) Allows(h Host) (why string, ok bool) {
	switch p.mode {
	case cellhold.EgressPublic:
		if local(h.name) {
			return fmt.Sprintf("%s is a name in a private network.", h), false
		}
		return "", true
	case cellhold.EgressAllowlist:
		if slices.ContainsFunc(p.hosts, func(q pattern) bool { return q.matches(h) }) {
			return "", true
		}
		return fmt.Sprintf("%s is not on this session's allowlist.", h), false
	}
	return "This session has no network access.", false
}

// local reports whether a name belongs to private networks by definition. The public policy does not look up such names.
func local(name string) bool {
	if name == "" {
		return false // an address
	}
	if !strings.Contains(name, ".") {
		return true
	}
	for _, zone := range []string{".localhost", ".local", ".internal", ".intranet", ".lan", ".home", ".corp", ".private", ".home.arpa", ".in-addr.arpa", ".ip6.arpa", ".test", ".invalid", ".onion"} {
		if strings.HasSuffix(name, zone) {
			return true
		}
	}
	return false
}

// Within returns nil if the ceiling allows everything that p allows.
func (p Policy) Within(ceiling Policy) error {
	switch {
	case p.None() || ceiling.mode == cellhold.EgressPublic:
		return nil
	case ceiling.None():
		return cellhold.Errorf(cellhold.Denied, "This server does not allow network access. Its operator can allow it with --max-egress.")
	case p.mode == cellhold.EgressPublic:
		return cellhold.Errorf(cellhold.Denied, "This server does not allow the egress policy public. Its operator can allow it with --max-egress=public.")
	}
	for _, q := range p.hosts {
		if !slices.ContainsFunc(ceiling.hosts, func(c pattern) bool { return c.covers(q) }) {
			return cellhold.Errorf(cellhold.Denied, "Sessions on this server cannot reach %s. Its operator can allow it with --egress-host.", q)
		}
	}
	return nil
}
