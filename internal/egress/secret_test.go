package egress

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"cellhold"
)

const (
	api      = "api.example.org"
	theValue = "s3cr3t-value"
)

// site is a web server that answers with the headers of the request. The resolver of the test gives it a name.
type site struct {
	*httptest.Server
	port int
}

func newSite(t testing.TB, secure bool) *site {
	t.Helper()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		user, password, _ := r.BasicAuth()
		fmt.Fprintf(w, "%s %s|%s|%s:%s|%s", r.Host, r.URL, r.Header.Get("X-Key"), user, password, r.Header.Get("X-Forwarded-For"))
	})
	s := &site{}
	if secure {
		s.Server = httptest.NewTLSServer(handler) // its certificate is for example.com and 127.0.0.1
	} else {
		s.Server = httptest.NewServer(handler)
	}
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.port, _ = strconv.Atoi(u.Port())
	return s
}

// webRig is a rig for a site, with inspection of TLS and HTTP.
func webRig(t testing.TB, s *site, p Policy, v *Vault) *rig {
	t.Helper()
	r := newRig(t, p, map[string][][]netip.Addr{"example.com.": {addrs("127.0.0.1")}, "other.example.com.": {addrs("127.0.0.1")}}, func(o *Options) {
		o.Rules.Allow, o.Rules.Ports, o.Vault = []netip.Prefix{loopback}, []uint16{uint16(s.port)}, v
		if s.Certificate() != nil {
			o.Rules.Roots = x509.NewCertPool()
			o.Rules.Roots.AddCert(s.Certificate())
		}
	})
	r.gate.web[s.port] = true
	return r
}

func vaultFor(t testing.TB, p Policy, host string) *Vault {
	t.Helper()
	v, err := NewVault(p, []cellhold.Secret{{Name: "KEY", Host: host, Value: theValue}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// get sends one request on a connection and returns the response.
func get(t testing.TB, c net.Conn, host string, header ...string) (int, string) {
	t.Helper()
	fmt.Fprintf(c, "GET /x HTTP/1.1\r\nHost: %s\r\n%s\r\n", host, strings.Join(header, ""))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// secured starts TLS on a connection, as a program in the guest that trusts the vault. Without a vault, it trusts any
// certificate.
func secured(t testing.TB, c net.Conn, name string, v *Vault) *tls.Conn {
	t.Helper()
	roots := x509.NewCertPool()
	if v != nil {
		roots.AppendCertsFromPEM([]byte(v.Trust()))
	}
	return tls.Client(c, &tls.Config{ServerName: name, RootCAs: roots, InsecureSkipVerify: v == nil})
}

func TestOnlyTheHostOfASecretGetsItsValue(t *testing.T) {
	s := newSite(t, true)
	p := list(t, "example.com", "other.example.com")
	v := vaultFor(t, p, "Example.com.")
	r := webRig(t, s, p, v)
	placeholder := v.Environment()["KEY"]
	if placeholder == "" || strings.Contains(placeholder, theValue) {
		t.Fatalf("got the placeholder %q, want text without the value of the secret", placeholder)
	}
	c, a := r.ask("example.com", s.port)
	if a.Error != "" {
		t.Fatal(a.Error)
	}
	host := fmt.Sprintf("example.com:%d", s.port)
	inner := secured(t, c, "example.com", v)
	req, _ := http.NewRequest("GET", "/", nil)
	req.SetBasicAuth("git", placeholder)
	status, body := get(t, inner, host, "X-Key: Bearer "+placeholder+"\r\n", "Authorization: "+req.Header.Get("Authorization")+"\r\n")
	if want := host + " /x|Bearer " + theValue + "|git:" + theValue + "|"; status != 200 || body != want {
		t.Errorf("got status %d with %s, want 200 with %s", status, body, want)
	}
	if got := r.attempt(); got.Decision != cellhold.EgressAllowed {
		t.Errorf("recorded %+v, want decision allowed", got)
	}
	fmt.Fprintf(inner, "TRACE / HTTP/1.1\r\nHost: %s\r\nX-Key: %s\r\n\r\n", host, placeholder)
	if res, err := http.ReadResponse(bufio.NewReader(inner), nil); err != nil || res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("TRACE: got %v, %v; want status 405", res, err)
	}

	// Another host gets the placeholder and not the value.
	c, _ = r.ask("other.example.com", s.port)
	inner = secured(t, c, "other.example.com", nil)
	if _, body := get(t, inner, "other.example.com", "X-Key: "+placeholder+"\r\n"); !strings.Contains(body, placeholder) || strings.Contains(body, theValue) {
		t.Errorf("the other host got %s, want the placeholder", body)
	}
}

func TestASecretIsNotSentWithoutTLS(t *testing.T) {
	s := newSite(t, false)
	p := list(t, "example.com")
	v := vaultFor(t, p, "example.com")
	r := webRig(t, s, p, v)
	c, _ := r.ask("example.com", s.port)
	placeholder := v.Environment()["KEY"]
	if _, body := get(t, c, fmt.Sprintf("example.com:%d", s.port), "X-Key: "+placeholder+"\r\n"); !strings.Contains(body, placeholder) || strings.Contains(body, theValue) {
		t.Errorf("the host got %s, want the placeholder", body)
	}
}

func TestAHostWithAnUntrustedCertificateGetsNoRequest(t *testing.T) {
	s := newSite(t, true)
	p := list(t, "other.example.com", "example.com")
	v := vaultFor(t, p, "example.com")
	r := webRig(t, s, p, v)
	r.gate.o.Rules.Roots = x509.NewCertPool() // no CA is trusted
	c, _ := r.ask("example.com", s.port)
	status, body := get(t, secured(t, c, "example.com", v), fmt.Sprintf("example.com:%d", s.port), "X-Key: "+v.Environment()["KEY"]+"\r\n")
	if status != http.StatusBadGateway || !strings.Contains(body, "certificate") {
		t.Errorf("got status %d with %s, want 502 with the word certificate", status, body)
	}
}

func TestARequestToAnotherHostThanTheConnectionIsRefused(t *testing.T) {
	for _, test := range []struct {
		name, sni, host string
		secure, well    bool
	}{
		{"the right names", "example.com", "example.com", true, true},
		{"another case", "EXAMPLE.com", "example.com", true, true},
		{"no name in TLS", "", "example.com", true, true},
		{"another name in TLS", "evil.example", "evil.example", true, false},
		{"no TLS", "", "example.com", false, true},
		{"no TLS, another name", "", "evil.example", false, false},
		{"no TLS, a longer name", "", "example.com.evil.example", false, false},
		{"no TLS, another port", "", "example.com:1", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, test.secure)
			r := webRig(t, s, list(t, "example.com"), nil)
			c, a := r.ask("example.com", s.port)
			if a.Error != "" {
				t.Fatal(a.Error)
			}
			_ = r.attempt()
			if test.secure {
				c = secured(t, c, test.sni, nil)
			}
			host := test.host
			if !strings.Contains(host, ":") && test.well {
				host = fmt.Sprintf("%s:%d", host, s.port)
			}
			status, body := get(t, c, host)
			c.Close()
			if (status == 200) != test.well {
				t.Errorf("got status %d with %s, want 200: %t", status, body, test.well)
			}
			if end := r.attempt(); (end.Decision == cellhold.EgressRefused) == test.well || test.well && end.Received == 0 {
				t.Errorf("recorded %+v, want decision refused: %t", end, !test.well)
			}
		})
	}
}

func TestASecondRequestForAnotherHostIsRefused(t *testing.T) {
	s := newSite(t, false)
	r := webRig(t, s, list(t, "example.com"), nil)
	c, _ := r.ask("example.com", s.port)
	host := fmt.Sprintf("example.com:%d", s.port)
	if status, body := get(t, c, host); status != 200 {
		t.Fatalf("the first request: got status %d with %s, want 200", status, body)
	}
	if status, body := get(t, c, "evil.example"); status != http.StatusMisdirectedRequest {
		t.Errorf("a second request for another host: got status %d with %s, want 421", status, body)
	}

	c, _ = r.ask("example.com", s.port)
	fmt.Fprintf(c, "GET /x HTTP/1.1\r\nHost: %s\r\n\r\nGET /y HTTP/1.1\r\nHost: evil.example\r\n\r\n", host)
	if got, err := io.ReadAll(c); err != nil || !strings.Contains(string(got), host+" /x") || !strings.Contains(string(got), " 421 ") || strings.Contains(string(got), "/y") {
		t.Errorf("two requests at once: got %s, %v; want the answer to the first and status 421", got, err)
	}
}

func TestWebPortsPassOnlyTLSAndHTTP(t *testing.T) {
	s := newSite(t, false)
	r := webRig(t, s, list(t, "example.com"), nil)
	for _, text := range []string{"SSH-2.0-x\r\n", "\x16garbage that is not a ClientHello of TLS", "\x16\x03\x01\xff\xff" + strings.Repeat("a", 40000), "GET / HTTP/1.1\r\nHost: example.com@evil.example\r\n\r\n", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET http://evil.example/x HTTP/1.1\r\nHost: example.com\r\n\r\n"} {
		c, _ := r.ask("example.com", s.port)
		_, _ = io.WriteString(c, text)
		if b, _ := io.ReadAll(c); strings.Contains(string(b), " 200 ") || strings.Contains(string(b), "/x") {
			t.Errorf("%.10q: got %q, want neither status 200 nor the path of a request", text, b)
		}
	}
}

func TestInvalidSecretsAreRefused(t *testing.T) {
	p := list(t, api, "*.example.net", "192.0.2.1")
	good := cellhold.Secret{Name: "KEY", Host: api, Value: "x"}
	for name, list := range map[string][]cellhold.Secret{
		"no name":             {{Host: api, Value: "x"}},
		"a name with =":       {{Name: "A=B", Host: api, Value: "x"}},
		"a host not listed":   {{Name: "KEY", Host: "evil.example", Value: "x"}},
		"a wildcard":          {{Name: "KEY", Host: "*.example.net", Value: "x"}},
		"an address":          {{Name: "KEY", Host: "192.0.2.1", Value: "x"}},
		"no value":            {{Name: "KEY", Host: api}},
		"a line in the value": {{Name: "KEY", Host: api, Value: "x\r\nHost: evil.example"}},
		"too long a value":    {{Name: "KEY", Host: api, Value: strings.Repeat("x", maxValue+1)}},
		"the same name twice": {good, good},
	} {
		_, err := NewVault(p, list)
		if err == nil || cellhold.KindOf(err) != cellhold.Invalid || strings.Contains(err.Error(), "evil.example\r") {
			t.Errorf("%s: got %v, want kind invalid and an error without the value", name, err)
		}
	}
	if _, err := NewVault(Policy{}, []cellhold.Secret{good}); err == nil {
		t.Error("a secret with a policy that allows nothing: got no error, want one")
	}
}

func TestAnUnsealedVaultWorksLikeTheSealedOne(t *testing.T) {
	p := list(t, api)
	v := vaultFor(t, p, api)
	sealed, err := v.Seal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Unseal(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if again.Trust() != v.Trust() || again.Environment()["KEY"] != v.Environment()["KEY"] {
		t.Error("the unsealed vault has another certificate or placeholder, want those of the sealed one")
	}
	leaf, err := again.leaf(host(t, api))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(v.Trust()))
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: api}); err != nil {
		t.Error(err)
	}
	for _, b := range []string{"{", "{}", strings.ReplaceAll(string(sealed), `"key":"`, `"key":"AAAA`)} {
		if _, err := Unseal([]byte(b)); err == nil || strings.Contains(err.Error(), theValue) {
			t.Errorf("%.20s: got %v, want an error without the value of the secret", b, err)
		}
	}
	if v, err := Unseal(nil); v != nil || err != nil {
		t.Errorf("Unseal(nil) returned %v, %v; want nil, nil", v, err)
	}
}

// A leaked key of the authority must be useless for other hosts.
func TestTheAuthorityIsTrustedOnlyForTheHostsOfSecrets(t *testing.T) {
	v := vaultFor(t, list(t, api), api)
	v.hosts[host(t, "evil.example")] = true
	leaf, err := v.leaf(host(t, "evil.example"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(v.Trust()))
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "evil.example", CurrentTime: time.Now()}); err == nil {
		t.Error("the authority's certificate for another host: got no error, want one")
	}
}
