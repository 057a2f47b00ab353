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
	// lookupTime and connectTime bound the two steps; together they stay below what the proxy in
	// the guest waits.
	lookupTime  = 10 * time.Second
	connectTime = 20 * time.Second
	// pinTime is how long a name keeps the addresses that were checked: long enough that a page
	// with all its parts comes from one place, short enough to follow a service that moves.
	pinTime = 5 * time.Minute
	// maxPins bounds the names that are remembered.
	maxPins = 256
	// maxAddresses bounds the addresses of one name that are tried.
	maxAddresses = 8
	// lookupRate and lookupBurst bound the questions of one session to the name servers: names are
	// a channel of their own, to whoever runs the servers of a listed zone.
	lookupRate  = 2
	lookupBurst = 60
	// maxLeft is the most bytes before the suffix of a wildcard's name that one session may send to
	// that zone's servers in all: a hundred names of a fair length.
	maxLeft = 4 << 10
)

// Resolver looks up names. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// NameServer asks one name server, and not those of the host.
func NameServer(at netip.AddrPort) Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, at.String())
	}}
}

// Rules are the operator's, for all sessions.
type Rules struct {
	Addresses
	Roots    *x509.CertPool // who may vouch for hosts that have secrets; nil means the host's list
	Ports    []uint16       // that may be dialled; empty means 80 and 443
	Resolver Resolver       // nil means the host's
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
	left int // bytes of names below wildcards that were looked up
}

// pin is the checked addresses of a name.
type pin struct {
	addrs []netip.Addr
	until time.Time
}

func newOutside(r *Rules, p Policy) *outside {
	return &outside{rules: r, policy: p, lookup: rate.NewLimiter(lookupRate, lookupBurst), pins: map[string]pin{}}
}

// denied is an error of the policy; nothing was sent.
type denied string

func (d denied) Error() string { return string(d) }

// permit checks everything that can be checked without a lookup.
func (o *outside) permit(h Host, port int) error {
	if why, ok := o.policy.Allows(h); !ok {
		return denied(why)
	}
	if port < 1 || port > 65535 || !o.rules.port(uint16(port)) {
		return denied(fmt.Sprintf("Port %d is not among those that this server lets sessions reach.", port))
	}
	return nil
}

// dial connects to a host that permit has let through. It goes to no address but those that were
// checked, and checks again, in the kernel's own form, the one it connects to.
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

// connect connects to one address; it leaves time for the others.
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

// addresses returns the addresses of a host that may be dialled: at least one.
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
	// The dot at the end keeps the host's search domains from being appended.
	found, err := o.resolver().LookupNetIP(ctx, "ip", h.name+".")
	if err != nil {
		return nil, fmt.Errorf("%s cannot be looked up: %w", h, err)
	}
	var good []netip.Addr
	var why error = fmt.Errorf("%s has no address", h)
	for _, a := range found {
		a = a.Unmap()
		if err := o.check(a); err != nil {
			why = denied(fmt.Sprintf("%s leads to an address that is %s.", h, o.rules.refuses(a)))
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

// budget takes one question out of what the session may ask the name servers.
func (o *outside) budget(h Host) error {
	if !o.lookup.Allow() {
		return denied("This session looks up too many names. Wait a moment.")
	}
	left := o.policy.left(h)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left+left > maxLeft {
		return denied("This session has looked up too many names below the wildcards of its list.")
	}
	o.left += left
	return nil
}

// left is how many bytes of the name the session chose itself: those that a wildcard leaves open.
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
		clear(o.pins) // they are a convenience: all addresses are checked again in any case
	}
	o.pins[h.name] = pin{addrs, time.Now().Add(pinTime)}
}

func (o *outside) unpin(h Host) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.pins, h.name)
}
