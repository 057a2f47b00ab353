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
	// lookupTime and connectTime bound the two steps. Their sum is less than the timeout of the guest's proxy.
	lookupTime  = 10 * time.Second
	connectTime = 20 * time.Second
	// pinTime is how long the checked addresses of a name are reused. It is long enough that a page with all its parts
	// comes from one address, and short enough to follow a service that moves.
	pinTime = 5 * time.Minute
	// maxPins bounds the names with remembered addresses.
	maxPins = 256
	// maxAddresses bounds the addresses of one name that are tried.
	maxAddresses = 8
	// lookupRate and lookupBurst bound the name lookups of one session: lookups can carry data to the operator of an
	// allowed zone.
	lookupRate  = 2
	lookupBurst = 60
	// maxLeft bounds the bytes before the suffix of wildcards that one session can send to name servers in total: about a
	// hundred names of usual length.
	maxLeft = 4 << 10
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

// outside makes the connections of one session.
type outside struct {
	rules  *Rules
	policy Policy
	lookup *rate.Limiter

	mu   sync.Mutex
	pins map[string]pin
	left int // bytes of the looked-up names below wildcards
}

// pin is the checked addresses of a name.
type pin struct {
	addrs []netip.Addr
	until time.Time
}

func newOutside(r *Rules, p Policy) *outside {
	return &outside{rules: r, policy: p, lookup: rate.NewLimiter(lookupRate, lookupBurst), pins: map[string]pin{}}
}

// denied is an error of the policy. No data was sent.
type denied string

func (d denied) Error() string { return string(d) }

// permit checks everything that needs no lookup.
func (o *outside) permit(h Host, port int) error {
	if why, ok := o.policy.Allows(h); !ok {
		return denied(why)
	}
	if port < 1 || port > 65535 || !o.rules.port(uint16(port)) {
		return denied(fmt.Sprintf("Sessions on this server cannot reach port %d.", port))
	}
	return nil
}

// dial connects to a host that permit allows. It dials only checked addresses. It checks the address again when the kernel
// connects, in the kernel's form.
func (o *outside) dial(ctx context.Context, h Host, port int) (net.Conn, error) {
	if err := o.permit(h, port); err != nil {
		return nil, err
	}
	addrs, err := o.addresses(ctx, h)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	var failures []error
	for i, a := range addrs {
		c, err := o.connect(ctx, netip.AddrPortFrom(a, uint16(port)), len(addrs)-i)
		if err == nil {
			return c, nil
		}
		failures = append(failures, err)
	}
	o.unpin(h)
	return nil, errors.Join(failures...)
}

// connect connects to one of left addresses. It uses only its share of the time.
func (o *outside) connect(ctx context.Context, to netip.AddrPort, left int) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
	defer cancel()
	d := net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || at.Port() != to.Port() || at.Addr().Unmap() != to.Addr() {
			return denied("The address is not the one that was checked.")
		}
		return o.check(at.Addr())
	}}
	return d.DialContext(ctx, "tcp", to.String())
}

func (o *outside) check(a netip.Addr) error {
	if why := o.rules.refuses(a); why != "" {
		return denied(fmt.Sprintf("The address %s is %s.", a, why))
	}
	return nil
}

// addresses returns the addresses of a host that can be dialled: at least one.
func (o *outside) addresses(ctx context.Context, h Host) ([]netip.Addr, error) {
	if h.name == "" {
		return []netip.Addr{h.addr}, o.check(h.addr)
	}
	if addrs := o.pinned(h); addrs != nil {
		return addrs, nil
	}
	if err := o.budget(h); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	// The dot at the end prevents the use of the host's search domains.
	found, err := o.resolver().LookupNetIP(ctx, "ip", h.name+".")
	if err != nil {
		return nil, fmt.Errorf("cannot look up %s: %w", h, err)
	}
	var good []netip.Addr
	var why error = fmt.Errorf("%s has no address", h)
	for _, a := range found {
		a = a.Unmap()
		if err := o.check(a); err != nil {
			why = denied(fmt.Sprintf("%s resolves to an address that is %s.", h, o.rules.refuses(a)))
			continue
		}
		if len(good) < maxAddresses && !slices.Contains(good, a) {
			good = append(good, a)
		}
	}
	if len(good) == 0 {
		return nil, why
	}
	o.pin(h, good)
	return good, nil
}

func (o *outside) resolver() Resolver {
	if o.rules.Resolver != nil {
		return o.rules.Resolver
	}
	return net.DefaultResolver
}

// budget takes one lookup from the budget of the session.
func (o *outside) budget(h Host) error {
	if !o.lookup.Allow() {
		return denied("This session looks up names too fast. Retry later.")
	}
	left := o.policy.left(h)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left+left > maxLeft {
		return denied("This session has looked up too many names below the wildcards of its allowlist.")
	}
	o.left += left
	return nil
}

// left returns how many bytes of the name the session chose itself: those that a wildcard leaves open.
func (p Policy) left(h Host) int {
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

func (o *outside) pinned(h Host) []netip.Addr {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p, ok := o.pins[h.name]; ok && time.Now().Before(p.until) {
		return p.addrs
	}
	return nil
}

func (o *outside) pin(h Host, addrs []netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pins) >= maxPins {
		clear(o.pins) // pins only save time: all addresses are checked again
	}
	o.pins[h.name] = pin{addrs, time.Now().Add(pinTime)}
}

func (o *outside) unpin(h Host) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.pins, h.name)
}
