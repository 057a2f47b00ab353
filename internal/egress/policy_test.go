package egress

import (
	"net/netip"
	"testing"

	"cellhold"
)

// list returns an allowlist.
func list(t *testing.T, hosts ...string) Policy {
	t.Helper()
	p, err := NewPolicy(cellhold.Egress{Policy: cellhold.EgressAllowlist, Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func host(t *testing.T, s string) Host {
	t.Helper()
	h, err := ParseHost(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestTheZeroPolicyAllowsNothing(t *testing.T) {
	none, err := NewPolicy(cellhold.Egress{})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]Policy{"zero": {}, "none": none, "an empty list": list(t), "an unknown mode": {mode: "all"}} {
		if _, ok := p.Allows(host(t, "example.org")); ok || !p.None() {
			t.Errorf("%s: got Allows %t and None %t, want false and true", name, ok, p.None())
		}
	}
}

func TestAnAllowlistMatchesOnlyItsHosts(t *testing.T) {
	p := list(t, "Example.ORG.", "*.sub.example.net", "bücher.example", "192.0.2.7")
	for name, want := range map[string]bool{
		"example.org": true, "EXAMPLE.org": true, "example.org.": true, "a.sub.example.net": true, "a.b.sub.example.net": true,
		"xn--bcher-kva.example": true, "::ffff:192.0.2.7": true,
		"www.example.org": false, "badexample.org": false, "example.org.evil.example": false, "sub.example.net": false,
		"evilsub.example.net": false, "exаmple.org": false, "bucher.example": false, "192.0.2.8": false, "org": false,
	} {
		if _, got := p.Allows(host(t, name)); got != want {
			t.Errorf("%s: got Allows %t, want %t", name, got, want)
		}
	}
}

func TestInvalidPoliciesAreRefused(t *testing.T) {
	for name, e := range map[string]cellhold.Egress{
		"an unknown policy":       {Policy: "all"},
		"hosts without a policy":  {Hosts: []string{"example.org"}},
		"hosts with public":       {Policy: cellhold.EgressPublic, Hosts: []string{"example.org"}},
		"everything below com":    {Policy: cellhold.EgressAllowlist, Hosts: []string{"*.com"}},
		"everything":              {Policy: cellhold.EgressAllowlist, Hosts: []string{"*"}},
		"a URL":                   {Policy: cellhold.EgressAllowlist, Hosts: []string{"https://example.org"}},
		"a port":                  {Policy: cellhold.EgressAllowlist, Hosts: []string{"example.org:80"}},
		"a star within":           {Policy: cellhold.EgressAllowlist, Hosts: []string{"a.*.example.org"}},
		"everything below a host": {Policy: cellhold.EgressAllowlist, Hosts: []string{"*.192.0.2.1"}},
		"too many hosts":          {Policy: cellhold.EgressAllowlist, Hosts: make([]string, maxHosts+1)},
	} {
		if _, err := NewPolicy(e); cellhold.KindOf(err) != cellhold.Invalid || err == nil {
			t.Errorf("%s: got %v, want kind invalid", name, err)
		}
	}
}

func TestAPolicyAboveTheCeilingIsDenied(t *testing.T) {
	public := Policy{mode: cellhold.EgressPublic}
	for _, test := range []struct {
		name        string
		asked, most Policy
		within      bool
	}{
		{"no host, the ceiling is no host", Policy{}, Policy{}, true},
		{"a host, the ceiling is no host", list(t, "example.org"), Policy{}, false},
		{"a host, the ceiling is an empty list", list(t, "example.org"), list(t), false},
		{"public, the ceiling is no host", public, Policy{}, false},
		{"public, the ceiling is a list", public, list(t, "example.org"), false},
		{"a host, the ceiling is public", list(t, "example.org"), public, true},
		{"a host, the ceiling lists it", list(t, "example.org"), list(t, "example.org", "example.net"), true},
		{"a host, the ceiling lists another", list(t, "example.com"), list(t, "example.org"), false},
		{"a host, the ceiling is a wildcard", list(t, "a.example.org"), list(t, "*.example.org"), true},
		{"a wildcard, the ceiling is a host", list(t, "*.example.org"), list(t, "example.org"), false},
		{"a narrower wildcard than the ceiling", list(t, "*.a.example.org"), list(t, "*.example.org"), true},
		{"a wider wildcard than the ceiling", list(t, "*.example.org"), list(t, "*.a.example.org"), false},
	} {
		if err := test.asked.Within(test.most); (err == nil) != test.within || err != nil && cellhold.KindOf(err) != cellhold.Denied {
			t.Errorf("%s: got %v, want kind denied: %t", test.name, err, !test.within)
		}
	}
}

func TestThePublicPolicyAllowsNoPrivateNames(t *testing.T) {
	public := Policy{mode: cellhold.EgressPublic}
	for name, want := range map[string]bool{
		"example.org": true, "192.0.2.1": true, "localhost": false, "intranet": false, "metadata.google.internal": false,
		"printer.local": false, "x.localhost": false, "1.0.0.127.in-addr.arpa": false,
	} {
		if _, got := public.Allows(host(t, name)); got != want {
			t.Errorf("%s: got Allows %t, want %t", name, got, want)
		}
	}
}

func TestPrivateAndSpecialAddressesAreNotPublic(t *testing.T) {
	for _, s := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1", "168.63.129.16", "169.254.169.254",
		"169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1",
		"240.0.0.1", "255.255.255.255",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
		"fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1", "2001:0:7f00:1::",
		"2001:db8::1", "3fff::1", "100::1", "5f00::1", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a00:1",
	} {
		if notPublic(netip.MustParseAddr(s)) == "" {
			t.Errorf("%s: got no reason, want one why it is not public", s)
		}
	}
	for _, s := range []string{"1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "2606:4700::1", "2a00:1450::5efd:1"} {
		if why := notPublic(netip.MustParseAddr(s)); why != "" {
			t.Errorf("%s: got the reason %q, want \"\" for a public address", s, why)
		}
	}
}

func TestTheDenyListPrecedesTheAllowlistOfAddresses(t *testing.T) {
	a := Addresses{
		Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		Deny:  []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("1.1.1.0/24")},
	}
	for s, want := range map[string]bool{"10.1.1.1": true, "::ffff:10.1.1.1": true, "10.1.2.1": false, "10.2.0.1": false, "1.1.1.1": false, "8.8.8.8": true} {
		if got := a.refuses(netip.MustParseAddr(s)) == ""; got != want {
			t.Errorf("%s: got allowed %t, want %t", s, got, want)
		}
	}
}
