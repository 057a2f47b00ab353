package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"cellhold"
	"cellhold/client"
)

// outsider is a web server of the test's own, on loopback, and a name server to which every name below
// example.org is that server.
type outsider struct {
	*httptest.Server
	port      string
	names     string // address of the name server
	visits    atomic.Int64
	questions atomic.Int64
}

func newOutsider(t testing.TB) *outsider {
	t.Helper()
	o := &outsider{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.visits.Add(1)
		fmt.Fprintf(w, "%s %s at %s", r.Method, r.URL.Path, r.Host)
	}))
	t.Cleanup(o.Close)
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.port = u.Port()
	o.answerNames(t)
	return o
}

// answerNames runs the name server.
func (o *outsider) answerNames(t testing.TB) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.names = conn.LocalAddr().String()
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			o.questions.Add(1)
			q := m.Questions[0]
			m.Header.Response, m.Additionals = true, nil
			switch {
			case !strings.HasSuffix(q.Name.String(), "example.org."):
				m.Header.RCode = dnsmessage.RCodeNameError
			case q.Type == dnsmessage.TypeA:
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
				}}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
}

// flags let sessions reach the test's server as if it were on the internet.
func (o *outsider) flags(more ...string) []string {
	return append([]string{"--egress-port", o.port, "--egress-resolver", o.names, "--egress-allow-address", "127.0.0.1/32"}, more...)
}

func allow(hosts ...string) *cellhold.Egress {
	return &cellhold.Egress{Policy: cellhold.EgressAllowlist, Hosts: hosts}
}

const fetch = `
import urllib.request, urllib.error
def fetch(url):
    try:
        return urllib.request.urlopen(url, timeout=30).read().decode()
    except urllib.error.HTTPError as e:
        return f"{e.code} {e.read().decode()}"
    except Exception as e:
        return repr(e)
`

func TestAnAllowlistLetsOutToItsHostsAndToNothingElse(t *testing.T) {
	o := newOutsider(t)
	s := serve(t, newHome(t), o.flags("--max-egress", "allowlist", "--egress-host", "*.example.org")...)
	id := s.session(t, client.CreateSession{Egress: allow("a.example.org", "*.sub.example.org")})
	s.must(t, id, fetch)
	for _, host := range []string{"a.example.org", "b.sub.example.org", "A.example.ORG."} {
		if got := s.must(t, id, "print(fetch('http://"+host+":"+o.port+"/x'))"); !strings.Contains(got, "GET /x at "+host) {
			t.Errorf("%s: %s", host, got)
		}
	}
	questions := o.questions.Load()
	for _, u := range []string{"http://example.org", "https://secret.example.org", "http://evil.example", "http://127.0.0.1"} {
		code := fmt.Sprintf("import os; os.environ['no_proxy'] = ''; print(fetch('%s:%s/'))", u, o.port)
		if got := s.must(t, id, code); !strings.Contains(got, "403") || !strings.Contains(got, "not on this session's list") {
			t.Errorf("%s: %s", u, got)
		}
	}
	if n := o.questions.Load(); n != questions {
		t.Errorf("%d questions about hosts that are not allowed", n-questions)
	}
	list, err := s.Attempts(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, a := range list {
		count[a.Host+" "+string(a.Decision)]++
	}
	for _, want := range []string{"a.example.org allowed", "b.sub.example.org allowed", "example.org refused", "secret.example.org refused", "evil.example refused", "127.0.0.1 refused"} {
		if count[want] == 0 {
			t.Errorf("not recorded: %s, only %v", want, count)
		}
	}
}

func TestWithoutAPolicyNothingGetsOut(t *testing.T) {
	o := newOutsider(t)
	s := serve(t, newHome(t), o.flags("--max-egress", "public")...)
	id := s.session(t, client.CreateSession{})
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	got := s.must(t, id, fmt.Sprintf(`
import os, socket
found = [v for v in os.environ if "proxy" in v.lower()]
def tries(kind, family, to):
    try:
        x = socket.socket(family, kind); x.settimeout(2); x.connect(to); x.send(b"x"); found.append(to)
    except OSError as e: pass
for port in (%s, %d, 3128, 53, 80):
    for host in ("127.0.0.1", "192.0.2.1", "8.8.8.8", "169.254.169.254"):
        tries(socket.SOCK_STREAM, socket.AF_INET, (host, port))
        if not host.startswith("127."): tries(socket.SOCK_DGRAM, socket.AF_INET, (host, port))
    tries(socket.SOCK_STREAM, socket.AF_INET6, ("::1", port))
try: found.append(socket.getaddrinfo("example.org", 80))
except OSError: pass
for kind in (socket.SOCK_RAW,):
    try: found.append(socket.socket(socket.AF_INET, kind, 1))
    except OSError: pass
print(found)`, o.port, udp.LocalAddr().(*net.UDPAddr).Port))
	if strings.TrimSpace(got) != "[]" || o.visits.Load() != 0 {
		t.Errorf("it found %s; %d visits", got, o.visits.Load())
	}
	list, err := s.Attempts(t.Context(), id)
	if err != nil || len(list) > 0 {
		t.Errorf("recorded %v, %v", list, err)
	}
}

func TestARestartOfTheServerKeepsPolicyAndRecords(t *testing.T) {
	o := newOutsider(t)
	home := newHome(t)
	flags := o.flags("--max-egress", "allowlist", "--egress-host", "a.example.org")
	s := serve(t, home, flags...)
	id := s.session(t, client.CreateSession{Egress: allow("a.example.org")})
	s.must(t, id, fetch)
	try := func(s *server) string {
		t.Helper()
		return s.must(t, id, "print(fetch('http://a.example.org:"+o.port+"/'), fetch('http://b.example.org:"+o.port+"/'))")
	}
	before := try(s)
	s.signal(t, syscall.SIGKILL)

	s = serve(t, home, flags...)
	if after := try(s); after != before || !strings.Contains(after, "GET /") || !strings.Contains(after, "403") {
		t.Errorf("before: %s\nafter: %s", before, after)
	}
	if list, err := s.Attempts(t.Context(), id); err != nil || len(list) < 4 {
		t.Errorf("recorded %v, %v", list, err)
	}
	s.signal(t, syscall.SIGKILL)

	// An operator who allows less closes the way of sessions that are there.
	s = serve(t, home, o.flags()...)
	visits := o.visits.Load()
	if got := try(s); strings.Contains(got, "GET /") || o.visits.Load() != visits {
		t.Errorf("with a lower ceiling: %s", got)
	}
}

func TestACallerGetsNoMoreThanTheOperatorAllows(t *testing.T) {
	s := serve(t, newHome(t))
	for _, e := range []*cellhold.Egress{allow("example.org"), {Policy: cellhold.EgressPublic}} {
		if _, err := s.CreateSession(t.Context(), client.CreateSession{Egress: e}); cellhold.KindOf(err) != cellhold.Denied {
			t.Errorf("%v: %v", e, err)
		}
	}
	if _, err := s.CreateSession(t.Context(), client.CreateSession{Egress: allow("https://example.org")}); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("a URL: %v", err)
	}
}
