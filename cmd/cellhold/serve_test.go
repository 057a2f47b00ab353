package main

import (
	"net"
	"testing"
)

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
