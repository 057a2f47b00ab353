package index

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	dialTime   = 20 * time.Second
	headerTime = time.Minute // indexes that generate pages need some seconds
	maxHops    = 5           // maximum redirects
)

// errInward refuses an address that a page must not name.
var errInward = errors.New("a page leads to an address of this machine or its local network")

// Transport returns the transport for requests to indexes. proxy chooses the proxy of a request and can be nil.
// roots replaces the system's certificate authorities if it is not nil. hosts are the hosts of the indexes: only
// these and the proxies can have an address of this machine. Other links to this machine's addresses, or to the
// metadata services of clouds, are refused.
func Transport(hosts []string, proxy func(*http.Request) (*url.URL, error), roots *x509.CertPool) *http.Transport {
	g := &gate{hosts: slices.Clone(hosts)}
	t := &http.Transport{
		DialContext:           g.dial,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   dialTime,
		ResponseHeaderTimeout: headerTime,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   4,
		DisableCompression:    true,
	}
	if proxy != nil {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			u, err := proxy(r)
			if u != nil {
				g.trust(u.Hostname())
			}
			return u, err
		}
	}
	return t
}

// gate dials connections.
type gate struct {
	mu    sync.Mutex
	hosts []string // trusted hosts: those that the operator named
}

func (g *gate) trust(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.hosts, host) {
		g.hosts = append(g.hosts, host)
	}
}

func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	trusted := slices.Contains(g.hosts, host)
	g.mu.Unlock()
	d := net.Dialer{Timeout: dialTime}
	if !trusted {
		d.Control = refuseInward // called with the address, after the name was resolved
	}
	return d.DialContext(ctx, network, addr)
}

// metadata are the metadata services of clouds that are not link-local. They give a machine its secrets.
var metadata = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("fd00:ec2::254"),   // Amazon
	netip.MustParseAddr("fd20:ce::254"),    // Google
}

// inward reports whether an address belongs to this machine, or is reachable only from this machine and its neighbours.
func inward(ip netip.Addr) bool {
	return ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || slices.Contains(metadata, ip) || ours(ip)
}

// ours reports whether the address belongs to this host. If the host's addresses cannot be read, it returns true.
func ours(ip netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(all, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		if !ok {
			return false
		}
		b, _ := netip.AddrFromSlice(n.IP)
		return b.Unmap() == ip
	})
}

func refuseInward(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := at.Addr().Unmap().WithZone(""); inward(ip) {
		return fmt.Errorf("%w: %s", errInward, ip)
	}
	return nil
}

// checkRedirect allows few redirects, and none from TLS to plain HTTP.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxHops {
		return errors.New("too many redirects")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("a redirect leads away from TLS")
	}
	return nil
}
