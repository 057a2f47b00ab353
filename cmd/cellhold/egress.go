package main

import (
	"cellhold"
	"cellhold/internal/egress"
	"cellhold/internal/session"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
)

// reach holds the settings of what sessions may reach outside. Without any, that is nothing.
type reach struct {
	Egress     string   `help:"What a session may reach that does not ask: none, allowlist (the hosts named by --egress-host) or public." enum:"none,allowlist,public" default:"none"`
	MaxEgress  string   `help:"Most that a session may ask for; without it, the default is the most. With allowlist, it may name hosts that --egress-host covers." enum:",none,allowlist,public" default:""`
	EgressHost []string `help:"Host of the allowlist: a name, or *.example.org for all below it." placeholder:"NAME"`
}

// gates holds the settings of how sessions get out, where they may.
type gates struct {
	EgressPort         []uint16       `help:"Ports that sessions may reach; without it, 80 and 443." placeholder:"PORT"`
	EgressAllowAddress []netip.Prefix `help:"Addresses that sessions may reach although they are private or special." placeholder:"CIDR"`
	EgressDenyAddress  []netip.Prefix `help:"Addresses that no session may reach." placeholder:"CIDR"`
	EgressResolver     netip.AddrPort `help:"Name server for what sessions reach; without it, the host's own." placeholder:"IP:PORT"`
	EgressCA           string         `help:"Certificates that may vouch for hosts which have secrets, beside the host's own list." name:"egress-ca" type:"path" placeholder:"FILE"`
	EgressBytes        size           `help:"What one session may send and receive in all." default:"16GiB"`
}

// settings returns them as the session's room takes them.
func (r reach) settings(g gates) (session.Egress, error) {
	s := session.Egress{
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
		return s, fmt.Errorf("--egress-host: %w", plainly(err))
	}
	if s.Ceiling, err = r.policy(r.MaxEgress); err != nil {
		return s, fmt.Errorf("--egress-host: %w", plainly(err))
	}
	if s.Default.Within(s.Ceiling) != nil {
		return s, fmt.Errorf("--egress=%s goes beyond --max-egress=%s", r.Egress, r.MaxEgress)
	}
	return s, nil
}

// roots are the host's certificate authorities and those in a file.
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
		return nil, fmt.Errorf("there is no certificate in %s", file)
	}
	return pool, nil
}

// policy reads one of the settings. Hosts belong to an allowlist only.
func (r reach) policy(name string) (egress.Policy, error) {
	e := cellhold.Egress{Policy: cellhold.EgressPolicy(name)}
	if e.Policy == cellhold.EgressAllowlist {
		e.Hosts = r.EgressHost
	}
	return egress.NewPolicy(e)
}

// masked brings prefixes into the form in which addresses are compared.
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
