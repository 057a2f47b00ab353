package egress

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

const (
	// lookupTime and connectTime bound the two steps of a dial. Their sum is less than the timeout of the guest's
	// proxy.
	lookupTime  = 10 * time.Second
	connectTime = 20 * time.Second
	// pinTime is how long the checked addresses of a name are reused. It is long enough to load a page and its parts from
	// one address, and short enough for a service that moves to another address.
	pinTime = 5 * time.Minute
	// maxPins bounds the names with remembered addresses.
	maxPins = 256
	// maxAddresses bounds the addresses of one name that are tried.
	maxAddresses = 8
	// lookupRate and lookupBurst bound the name lookups of one session: lookups can carry data to the operator of an
	// allowed zone.
	lookupRate  = 2
	lookupBurst = 60
	// maxWildcardBytes bounds the bytes that one session can send to name servers in place of the * of wildcards: about a
	// hundred names of usual length.
	maxWildcardBytes = 4 << 10
)

// Resolver looks up names. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// NameServer returns a resolver that uses one name server instead of those of the host.
func NameServer(at netip.AddrPort) Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, at.String())
	}}
}

// Rules are the operator's rules for all sessions.
type Rules struct {
	Addresses
	Roots    *x509.CertPool // CA certificates for hosts that have secrets; nil means the host's list
	Ports    []uint16       // allowed ports; empty means 80 and 443
	Resolver Resolver       // nil means the host's resolver
}

func (r *Rules) port(p uint16) bool {
	if len(r.Ports) == 0 {
		return p == 80 || p == 443
	}
	return slices.Contains(r.Ports, p)
}

// dialer makes the connections of one session.
type dialer struct {
	rules  *Rules
	policy Policy
	lookup *rate.Limiter

	mu   sync.Mutex
	pins map[string]pin
	// wildcardBytes counts the bytes that stand for the * of a wildcard, in all looked-up names.
	wildcardBytes int
}

// pin is the checked addresses of a name.
type pin struct {
	addrs []netip.Addr
	until time.Time
}

func newDialer(r *Rules, p Policy) *dialer {
	return &dialer{rules: r, policy: p, lookup: rate.NewLimiter(lookupRate, lookupBurst), pins: map[string]pin{}}
}

// denied is an error of the policy. No data was sent.
type denied string

func (d denied) Error() string { return string(d) }

// permit checks the policy and the port, which needs no lookup.
func (d *dialer) permit(h Host, port int) error {
	if why, ok := d.policy.Allows(h); !ok {
		return denied(why)
	}
	if port < 1 || port > 65535 || !d.rules.port(uint16(port)) {
		return denied(fmt.Sprintf("Sessions on this server cannot reach port %d.", port))
	}
	return nil
}

// dial connects to a host that permit allows. It dials only checked addresses. Just before the system call that
// connects, dial checks the address again, in the form that the system call gets.
func (d *dialer) dial(ctx context.Context, h Host, port int) (net.Conn, error) {
	if err := d.permit(h, port); err != nil {
		return nil, err
	}
	addrs, err := d.addresses(ctx, h)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	var failures []error
	for i, a := range addrs {
		c, err := d.connect(ctx, netip.AddrPortFrom(a, uint16(port)), len(addrs)-i)
		if err == nil {
			return c, nil
		}
		failures = append(failures, err)
	}
	d.unpin(h)
	return nil, errors.Join(failures...)
}

// connect connects to one address. It uses only its share of the time: remaining is the number of addresses to try.
func (d *dialer) connect(ctx context.Context, to netip.AddrPort, remaining int) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(remaining))
	defer cancel()
	nd := net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || at.Port() != to.Port() || at.Addr().Unmap() != to.Addr() {
			return denied("The address differs from the checked address.")
		}
		return d.check(at.Addr())
	}}
	return nd.DialContext(ctx, "tcp", to.String())
}

func (d *dialer) check(a netip.Addr) error {
	if why := d.rules.refuses(a); why != "" {
		return denied(fmt.Sprintf("The address %s is %s.", a, why))
	}
	return nil
}

// addresses returns the addresses of a host that can be dialled: at least one.
func (d *dialer) addresses(ctx context.Context, h Host) ([]netip.Addr, error) {
	if h.name == "" {
		return []netip.Addr{h.addr}, d.check(h.addr)
	}
	if addrs := d.pinned(h); addrs != nil {
		return addrs, nil
	}
	if err := d.budget(h); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	// The dot at the end prevents the use of the host's search domains.
	found, err := d.resolver().LookupNetIP(ctx, "ip", h.name+".")
	if err != nil {
		return nil, fmt.Errorf("cannot look up %s: %w", h, err)
	}
	var good []netip.Addr
	var why error = fmt.Errorf("%s has no address", h)
	for _, a := range found {
		a = a.Unmap()
		if err := d.check(a); err != nil {
			why = denied(fmt.Sprintf("%s resolves to an address that is %s.", h, d.rules.refuses(a)))
			continue
		}
		if len(good) < maxAddresses && !slices.Contains(good, a) {
			good = append(good, a)
		}
	}
	if len(good) == 0 {
		return nil, why
	}
	d.pin(h, good)
	return good, nil
}

func (d *dialer) resolver() Resolver {
	if d.rules.Resolver != nil {
		return d.rules.Resolver
	}
	return net.DefaultResolver
}

// budget counts one lookup, and refuses it above the limits of the session.
func (d *dialer) budget(h Host) error {
	if !d.lookup.Allow() {
		return denied("This session looks up names too fast. Retry later.")
	}
	n := d.policy.wildcardBytes(h)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wildcardBytes+n > maxWildcardBytes {
		return denied("This session has looked up too many names below the wildcards of its allowlist. Use complete host names in the allowlist.")
	}
	d.wildcardBytes += n
	return nil
}

// wildcardBytes returns the number of bytes that stand for the * of a wildcard in a name. The session chooses these bytes.
func (p Policy) wildcardBytes(h Host) int {
	n := 0
	for _, q := range p.hosts {
		if !q.matches(h) {
			continue
		}
		if q.suffix == "" {
			return 0
		}
		n = max(n, len(h.name)-len(q.suffix))
	}
	return n
}

func (d *dialer) pinned(h Host) []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.pins[h.name]; ok && time.Now().Before(p.until) {
		return p.addrs
	}
	return nil
}

func (d *dialer) pin(h Host, addrs []netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pins) >= maxPins {
		clear(d.pins) // pins only save time: the next lookup checks the addresses again
	}
	d.pins[h.name] = pin{addrs, time.Now().Add(pinTime)}
}

func (d *dialer) unpin(h Host) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.pins, h.name)
}
