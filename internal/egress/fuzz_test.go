package egress

import (
	"io"
	"net"
	"strings"
	"testing"

	"cellhold"
	"context"
)

// FuzzAsk sends arbitrary requests of a guest. Only listed names are looked up, and recorded hosts are printable.
func FuzzAsk(f *testing.F) {
	for _, s := range []string{
		`{"host":"example.org","port":443}`, `{"host":"a\u0000b","port":-1}`, `{"host":"[::1]","port":80}`, `{"port":1e9}`, `[]`, "\xff",
		`{"host":"` + strings.Repeat("a.", 200) + `","port":443}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		asked := &names{}
		var kept []cellhold.EgressAttempt
		p := Policy{mode: cellhold.EgressAllowlist, hosts: []pattern{{suffix: ".listed.example"}}}
		g, err := New(Options{Policy: p, Rules: &Rules{Resolver: asked},
			Next:   func(context.Context) (net.Conn, error) { return nil, io.EOF },
			Record: func(_ context.Context, a cellhold.EgressAttempt) error { kept = append(kept, a); return nil }})
		if err != nil {
			t.Fatal(err)
		}
		host, guest := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.serve(t.Context(), host, func() {})
		}()
		go func() {
			_, _ = guest.Write(append(line, '\n'))
		}()
		_, _ = io.Copy(io.Discard, guest)
		<-done
		guest.Close()
		for _, name := range asked.asked {
			if !strings.HasSuffix(name, ".listed.example.") || len(name) > maxName+1 {
				t.Errorf("looked up %q, want only names below listed.example of at most %d bytes", name, maxName)
			}
		}
		for _, a := range kept {
			if strings.ContainsFunc(a.Host, func(r rune) bool { return r < ' ' || r > '~' }) || len(a.Host) > maxName || a.Decision == cellhold.EgressAllowed {
				t.Errorf("recorded %+v, want a printable host of at most %d bytes that is not allowed", a, maxName)
			}
		}
	})
}

// FuzzHello reads arbitrary bytes as a ClientHello. The guest must not make the host keep more bytes than the limits.
func FuzzHello(f *testing.F) {
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"))
	f.Add([]byte("\x16\x03\x01\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		host, guest := net.Pipe()
		go func() {
			_, _ = guest.Write(b)
			guest.Close()
		}()
		name, seen, err := hello(host)
		host.Close()
		if err == nil && (len(seen) > maxHello || len(seen) > len(b) || len(name) > 64<<10) {
			t.Errorf("hello returned %d bytes of %d and a name of %d bytes; want at most %d, and %d", len(seen), len(b), len(name), min(len(b), maxHello), 64<<10)
		}
	})
}
