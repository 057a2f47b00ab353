package egress

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// allowEcho returns options that allow connections to an echo server on loopback.
func allowEcho(e *echo) func(*Options) {
	return func(o *Options) {
		o.Rules.Allow = []netip.Prefix{loopback}
		o.Rules.Ports = []uint16{uint16(e.port)}
	}
}

func TestAnAllowedHostIsReachedAndRecorded(t *testing.T) {
	e := newEcho(t, "127.0.0.1")
	r := newRig(t, list(t, "files.example.org"), map[string][][]netip.Addr{"files.example.org.": {addrs("127.0.0.1")}}, allowEcho(e))
	c, a := r.ask("Files.Example.ORG.", e.port)
	if a != (guestapi.Answer{}) {
		t.Fatalf("got the answer %+v, want a connection", a)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	begun := r.attempt()
	if err := c.(*guestConn).Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); string(b) != "hello" || err != nil {
		t.Errorf("got %q, %v; want hello", b, err)
	}
	ended := r.attempt()
	if begun.Host != "files.example.org" || begun.Decision != cellhold.EgressAllowed || !strings.HasPrefix(begun.Address, "127.0.0.1:") || !begun.Ended.IsZero() {
		t.Errorf("the record of the start is %+v, want allowed, the host, the address and no end", begun)
	}
	if ended.ID != begun.ID || ended.Sent != 5 || ended.Received != 5 || ended.Ended.IsZero() || ended.Reason != "" {
		t.Errorf("the record of the end is %+v, want the same id, 5 bytes sent, 5 received and no reason", ended)
	}
}

func TestANameThatIsNotAllowedIsNotLookedUp(t *testing.T) {
	r := newRig(t, list(t, "example.org", "*.example.net"), nil, nil)
	for _, name := range []string{
		"evil.example", "secret.evil.example", "example.org.evil.example", "badexample.org", "example.org\x00.evil.example",
		"example.org@evil.example", "example.org\r\nx", strings.Repeat("a", 64) + ".example.net", "exаmple.org", "0x7f.1", "",
	} {
		if _, a := r.ask(name, 443); !a.Refused || a.Error == "" {
			t.Errorf("%q: got the answer %+v, want Refused true and an error", name, a)
		}
		if got := r.attempt(); got.Decision != cellhold.EgressRefused || got.Reason == "" || strings.ContainsAny(got.Host, "\x00\r\n") {
			t.Errorf("%q: recorded %+v, want decision refused, a reason and a printable host", name, got)
		}
	}
	if n := r.names.questions(); n > 0 {
		t.Errorf("got %d lookups: %q; want 0", n, r.names.asked)
	}
}

func TestOnlyAllowedPortsAreReached(t *testing.T) {
	r := newRig(t, list(t, "example.org"), nil, nil)
	for _, port := range []int{-1, 0, 22, 25, 53, 853, 8080, 65536, 65536 + 443} {
		if _, a := r.ask("example.org", port); !a.Refused {
			t.Errorf("port %d: got the answer %+v, want Refused true", port, a)
		}
	}
	if n := r.names.questions(); n > 0 {
		t.Errorf("got %d lookups, want 0", n)
	}
}

func TestAHostWithAPrivateOrSpecialAddressIsRefused(t *testing.T) {
	e := newEcho(t, "127.0.0.1")
	answers := map[string][][]netip.Addr{}
	special := []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "fd00:ec2::254", "0.0.0.0"}
	for i, a := range special {
		answers["h"+string(rune('a'+i))+".example.org."] = [][]netip.Addr{addrs(a)}
	}
	r := newRig(t, list(t, "*.example.org", "127.0.0.1", "169.254.169.254"), answers, func(o *Options) { o.Rules.Ports = []uint16{uint16(e.port)} })
	for i, a := range special {
		_, got := r.ask("h"+string(rune('a'+i))+".example.org", e.port)
		if !got.Refused || strings.Contains(got.Error, a) {
			t.Errorf("%s: got the answer %+v, want Refused true and an error without the address", a, got)
		}
	}
	for _, a := range []string{"127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"} { // even if the allowlist contains them
		if _, got := r.ask(a, e.port); !got.Refused {
			t.Errorf("%s: got the answer %+v, want Refused true", a, got)
		}
	}
	if n := e.visits(); n != 0 {
		t.Errorf("got %d connections on loopback, want 0", n)
	}
}

func TestADialUsesTheAllowedAddressesOfTheFirstLookup(t *testing.T) {
	e := newEcho(t, "127.0.0.2")
	other := newEcho(t, "127.0.0.3")
	r := newRig(t, list(t, "a.example.org", "b.example.org"), map[string][][]netip.Addr{
		"a.example.org.": {addrs("127.0.0.2"), addrs("127.0.0.3")},             // a second lookup would return another address
		"b.example.org.": {addrs("127.0.0.3", "127.0.0.2", "169.254.169.254")}, // only the second address is allowed
	}, func(o *Options) {
		o.Rules.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
		o.Rules.Ports = []uint16{uint16(e.port), uint16(other.port)}
	})
	for _, name := range []string{"a.example.org", "a.example.org", "b.example.org", "b.example.org"} {
		if _, a := r.ask(name, e.port); a.Error != "" {
			t.Errorf("%s: got the answer %+v, want a connection", name, a)
		}
		for got := r.attempt(); got.ID == ""; got = r.attempt() { // waits for the record
		}
	}
	if n := r.names.questions(); n != 2 {
		t.Errorf("got %d lookups, want 2: one for each name", n)
	}
	if n := other.visits(); n != 0 {
		t.Errorf("got %d connections to 127.0.0.3, want 0", n)
	}
}

func TestADialRefusesALoopbackAddressThatIsAlreadyStored(t *testing.T) {
	e := newEcho(t, "127.0.0.1")
	d := newDialer(&Rules{Ports: []uint16{uint16(e.port)}}, list(t, "example.org"))
	h := host(t, "example.org")
	d.pin(h, addrs("127.0.0.1")) // as if the check after the lookup had allowed loopback
	if c, err := d.dial(t.Context(), h, e.port); err == nil {
		c.Close()
		t.Error("dial of a loopback address returned no error, want one")
	}
	if n := e.visits(); n != 0 {
		t.Errorf("got %d connections on loopback, want 0", n)
	}
}

func TestAPolicyThatAllowsNothingOpensNoConnection(t *testing.T) {
	r := newRig(t, Policy{}, nil, nil)
	r.gate.Run(t.Context()) // returns at once
	select {
	case <-r.offers:
		t.Error("the gate opened a connection for requests, want 0")
	default:
	}
}

func TestAnAttemptThatCannotBeRecordedGetsAnError(t *testing.T) {
	e := newEcho(t, "127.0.0.1")
	r := newRig(t, list(t, "127.0.0.1"), nil, allowEcho(e))
	r.noRecord = true
	c, a := r.ask("127.0.0.1", e.port)
	if a.Error == "" || a.Refused {
		t.Fatalf("got the answer %+v, want an error and Refused false", a)
	}
	if b, _ := io.ReadAll(c); len(b) > 0 {
		t.Errorf("got the data %q, want 0 bytes", b)
	}
}

func TestAnInvalidRequestEndsOnlyItsConnection(t *testing.T) {
	e := newEcho(t, "127.0.0.1")
	r := newRig(t, list(t, "127.0.0.1"), nil, allowEcho(e))
	for _, line := range []string{"\n", "GET / HTTP/1.1\r\n", strings.Repeat("x", 2*guestapi.MaxLine) + "\n", "{\"host\":7}\n", "[]\n", "\x00\xff\n"} {
		if _, a := r.send(line); a.Error != "closed" {
			t.Errorf("%.20q: got the answer %+v, want a closed connection", line, a)
		}
	}
	if _, a := r.ask("127.0.0.1", e.port); a.Error != "" {
		t.Errorf("the next request got the answer %+v, want a connection", a)
	}
}

func TestAConnectionEndsWhenTheSessionReachesItsLimitOfBytes(t *testing.T) {
	e := newEcho(t, "127.0.0.1")
	r := newRig(t, list(t, "127.0.0.1"), nil, func(o *Options) {
		allowEcho(e)(o)
		o.Limits.Bytes = 1000
	})
	c, a := r.ask("127.0.0.1", e.port)
	if a.Error != "" {
		t.Fatalf("got the answer %+v, want a connection", a)
	}
	_ = r.attempt()
	_, _ = c.Write(make([]byte, 5000))
	if b, _ := io.ReadAll(c); len(b) > 1000 {
		t.Errorf("got %d bytes back, want at most 1000", len(b))
	}
	if end := r.attempt(); end.Reason != string(errTooMuch) {
		t.Errorf("recorded %+v, want the reason %s", end, errTooMuch)
	}
}

func TestAnIdleConnectionEnds(t *testing.T) {
	e := newEcho(t, "127.0.0.1")
	r := newRig(t, list(t, "127.0.0.1"), nil, func(o *Options) {
		allowEcho(e)(o)
		o.Limits.Idle = 50 * time.Millisecond
	})
	c, _ := r.ask("127.0.0.1", e.port)
	_ = r.attempt()
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("read of an idle connection: got %v, want its end without an error", err)
	}
	if end := r.attempt(); end.Reason != string(errTooIdle) {
		t.Errorf("recorded %+v, want the reason %s", end, errTooIdle)
	}
}

func TestTheDialerLimitsLookupsAndTheirBytes(t *testing.T) {
	answers := map[string][][]netip.Addr{}
	d := newDialer(&Rules{Resolver: &names{answers: answers}}, list(t, "*.example.org"))
	long := strings.Repeat("a", 60) + "."
	refused := 0
	for i := range 70 {
		h := host(t, long+strings.Repeat("b", i%30+1)+".example.org")
		if _, err := d.addresses(t.Context(), h); err != nil {
			if _, no := err.(denied); no {
				refused++
			}
		}
	}
	if n := d.rules.Resolver.(*names).questions(); n > lookupBurst || refused == 0 {
		t.Errorf("got %d lookups and %d refused; want at most %d, and at least 1", n, refused, lookupBurst)
	}
	if d.wildcardBytes > maxWildcardBytes {
		t.Errorf("looked up %d bytes of names for wildcards, want at most %d", d.wildcardBytes, maxWildcardBytes)
	}
}

func TestAttemptsAboveTheLimitAreCountedInOneRecord(t *testing.T) {
	var kept []cellhold.EgressAttempt
	l := &ledger{record: func(_ context.Context, a cellhold.EgressAttempt) error { kept = append(kept, a); return nil }}
	for range maxListed + 100 {
		if _, err := l.begin(t.Context(), cellhold.EgressAttempt{}); err != nil {
			t.Fatal(err)
		}
	}
	l.last = time.Now().Add(-2 * summaryTime)
	_, _ = l.begin(t.Context(), cellhold.EgressAttempt{})
	if n := len(kept); n != maxListed+2 || kept[n-1].More != 99 {
		t.Errorf("got %d records, and %d more attempts in the last; want %d and 99", n, kept[n-1].More, maxListed+2)
	}
}
