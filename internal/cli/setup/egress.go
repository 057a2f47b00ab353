package setup

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"cellhold/internal/egress"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
)

// EgressSettings holds the settings of the hosts that sessions can reach. The zero value allows no host.
type EgressSettings struct {
	Egress     string   `help:"Network access of a session whose caller sets none: none, allowlist (the hosts of --egress-host) or public." enum:"none,allowlist,public" default:"none"`
	MaxEgress  string   `help:"Most network access that a caller can set: none, allowlist (hosts that --egress-host covers) or public. Default: the value of --egress." enum:",none,allowlist,public" default:""`
	EgressHost []string `help:"Host of the allowlist: a name, or *.example.org for its subdomains." placeholder:"NAME"`
}

// egressRules holds the settings of how sessions reach the hosts that are allowed.
type egressRules struct {
	EgressPort         []uint16       `help:"Ports that sessions can reach. Default: 80 and 443." placeholder:"PORT"`
	EgressAllowAddress []netip.Prefix `help:"Private or special addresses that sessions can reach." placeholder:"CIDR"`
	EgressDenyAddress  []netip.Prefix `help:"Addresses that no session can reach." placeholder:"CIDR"`
	EgressResolver     netip.AddrPort `help:"Name server for the hosts that sessions reach. Default: the host's own." placeholder:"IP:PORT"`
	EgressCA           string         `help:"CA certificates trusted for hosts that receive secrets, added to the host's own list." name:"egress-ca" type:"path" placeholder:"FILE"`
	EgressBytes        console.Size   `help:"Bytes that one session can send and receive in total. 0: default (16GiB)." default:"16GiB"`
}

// settings returns the settings in the form of package session.
func (r EgressSettings) settings(g egressRules) (egress.Settings, error) {
	s := egress.Settings{
		Rules: egress.Rules{
			Addresses: egress.Addresses{Allow: masked(g.EgressAllowAddress), Deny: masked(g.EgressDenyAddress)},
			Ports:     g.EgressPort,
		},
		Limits: egress.Limits{Bytes: int64(g.EgressBytes)},
	}
	if at := g.EgressResolver; at.IsValid() {
		s.Rules.Resolver = egress.NameServer(at)
	}
	if g.EgressCA != "" {
		var err error
		if s.Rules.Roots, err = roots(g.EgressCA); err != nil {
			return s, fmt.Errorf("--egress-ca: %w", err)
		}
	}
	if r.MaxEgress == "" {
		r.MaxEgress = r.Egress
	}
	var err error
	if s.Default, err = r.policy(r.Egress); err != nil {
		return s, fmt.Errorf("--egress-host: %w", console.Message(err))
	}
	if s.Ceiling, err = r.policy(r.MaxEgress); err != nil {
		return s, fmt.Errorf("--egress-host: %w", console.Message(err))
	}
	if s.Default.Within(s.Ceiling) != nil {
		return s, fmt.Errorf("--egress=%s allows more than --max-egress=%s", r.Egress, r.MaxEgress)
	}
	return s, nil
}

// roots returns the host's CA certificates and those in a file.
func roots(file string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s contains no certificate", file)
	}
	return pool, nil
}

// policy returns the named policy. Only an allowlist takes the hosts of --egress-host.
func (r EgressSettings) policy(name string) (egress.Policy, error) {
	e := cellhold.Egress{Policy: cellhold.EgressPolicy(name)}
	if e.Policy == cellhold.EgressAllowlist {
		e.Hosts = r.EgressHost
	}
	return egress.NewPolicy(e)
}

// masked returns the prefixes in the form in which addresses are compared: masked, and IPv4 unmapped.
func masked(list []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out
}
