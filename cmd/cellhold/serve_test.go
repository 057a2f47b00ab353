package main

import (
	"net"
	"strings"
	"testing"

	"cellhold/internal/server"
)

// Only in a container the gateway can be the host. Elsewhere it is a router, through which other machines connect.
func TestTheGatewayIsTrustedInContainersOnly(t *testing.T) {
	t.Parallel()
	o := server.Options{AuthOff: true}
	err := (&access{TrustGateway: true}).trust(&o, false)
	if err == nil || !strings.Contains(err.Error(), "only in a container") || len(o.Gateways) > 0 {
		t.Errorf("outside a container: got %v and the gateways %v, want a refusal", err, o.Gateways)
	}
}

func TestTheGreetingNamesAnAddressThatAClientCanReach(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		asked  string
		bound  net.TCPAddr
		want   string
		others bool
	}{
		{"127.0.0.1:5002", net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5002}, "127.0.0.1:5002", false},
		{"0.0.0.0:5002", net.TCPAddr{IP: net.IPv4zero, Port: 5002}, "127.0.0.1:5002", true},
		{":5002", net.TCPAddr{IP: net.IPv6zero, Port: 5002}, "127.0.0.1:5002", true},
		{"[::]:0", net.TCPAddr{IP: net.IPv6zero, Port: 40000}, "[::1]:40000", true},
		{"[::1]:5002", net.TCPAddr{IP: net.IPv6loopback, Port: 5002}, "[::1]:5002", false},
		{"10.0.0.7:5002", net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 5002}, "10.0.0.7:5002", false},
	} {
		if got, others := reachable(&x.bound, x.asked); got != x.want || others != x.others {
			t.Errorf("--listen %s: got %s, all addresses: %t; want %s, %t", x.asked, got, others, x.want, x.others)
		}
	}
}
