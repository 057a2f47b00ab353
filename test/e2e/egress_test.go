package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"cellhold"
	"cellhold/client"
)

// internetFixture is a web server on loopback, and a name server that resolves every name below example.org
// to that server.
type internetFixture struct {
	*httptest.Server
	files     http.Handler // serves the paths below /files/
	port      string
	names     string // address of the name server
	visits    atomic.Int64
	questions atomic.Int64
}

func newInternetFixture(t testing.TB, cert ...tls.Certificate) *internetFixture {
	t.Helper()
	o := &internetFixture{files: http.NotFoundHandler()}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.visits.Add(1)
		if strings.HasPrefix(r.URL.Path, "/files/") {
			o.files.ServeHTTP(w, r)
			return
		}
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		fmt.Fprintf(w, "%s %s at %s with %s", r.Method, r.URL.Path, r.Host, r.Header.Get("Authorization"))
	})
	o.Server = httptest.NewUnstartedServer(handler)
	if len(cert) > 0 {
		o.TLS = &tls.Config{Certificates: cert}
		o.StartTLS()
	} else {
		o.Start()
	}
	t.Cleanup(o.Close)
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.port = u.Port()
	o.answerNames(t)
	return o
}

// answerNames runs the name server until the end of the test.
func (o *internetFixture) answerNames(t testing.TB) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.names = conn.LocalAddr().String()
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	flips := 0
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
				for _, last := range hostsOf(q.Name.String(), &flips) {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
						Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, last}},
					})
				}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
}

// flags returns the server flags with which sessions reach this web server as if it was on the internet. more are
// additional flags.
func (o *internetFixture) flags(more ...string) []string {
	return append([]string{"--egress-port", o.port, "--egress-resolver", o.names, "--egress-allow-address", "127.0.0.1/32"}, more...)
}

// hostsOf returns the last bytes of a name's addresses in 127.0.0.0/24. 1 is the web server, and 2 is a private
// address. flip.example.org has 1 in the first answer and 2 in later answers, mix.example.org has both, and
// inside.example.org has 2.
func hostsOf(name string, flips *int) []byte {
	switch strings.ToLower(name) {
	case "flip.example.org.":
		*flips++
		if *flips > 1 {
			return []byte{2}
		}
	case "mix.example.org.":
		return []byte{2, 1}
	case "inside.example.org.":
		return []byte{2}
	}
	return []byte{1}
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

func TestASessionReachesOnlyTheHostsOfItsAllowlist(t *testing.T) {
	t.Parallel()
	o := newInternetFixture(t)
	s := serve(t, newHome(t), o.flags("--max-egress", "allowlist", "--egress-host", "*.example.org")...)
	id := s.session(t, client.CreateSession{Egress: allow("a.example.org", "*.sub.example.org")})
	s.must(t, id, fetch)
	for _, host := range []string{"a.example.org", "b.sub.example.org", "A.example.ORG."} {
		if got := s.must(t, id, "print(fetch('http://"+host+":"+o.port+"/x'))"); !strings.Contains(got, "GET /x at "+host) {
			t.Errorf("%s: got %s, want an answer of the web server", host, got)
		}
	}
	questions := o.questions.Load()
	for _, u := range []string{"http://example.org", "https://secret.example.org", "http://evil.example", "http://127.0.0.1"} {
		code := fmt.Sprintf("import os; os.environ['no_proxy'] = ''; print(fetch('%s:%s/'))", u, o.port)
		if got := s.must(t, id, code); !strings.Contains(got, "403") || !strings.Contains(got, "not on this session's allowlist") {
			t.Errorf("%s: got %s, want 403 with \"not on this session's allowlist\"", u, got)
		}
	}
	if n := o.questions.Load(); n != questions {
		t.Errorf("got %d name queries for hosts that are not allowed, want 0", n-questions)
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
			t.Errorf("got the attempts %v, want %q too", count, want)
		}
	}
}

func TestASessionWithoutAnEgressPolicyHasNoNetworkAccess(t *testing.T) {
	t.Parallel()
	o := newInternetFixture(t)
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
		t.Errorf("the code found %s, and the web server had %d visits; want [] and 0", got, o.visits.Load())
	}
	list, err := s.Attempts(t.Context(), id)
	if err != nil || len(list) > 0 {
		t.Errorf("got the attempts %v, %v; want 0", list, err)
	}
}

func TestARestartOfTheServerKeepsTheEgressPolicyAndTheAttempts(t *testing.T) {
	t.Parallel()
	o := newInternetFixture(t)
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
		t.Errorf("got %s after the restart, want the earlier output %s", after, before)
	}
	if list, err := s.Attempts(t.Context(), id); err != nil || len(list) < 4 {
		t.Errorf("got the attempts %v, %v; want at least 4", list, err)
	}
	s.signal(t, syscall.SIGKILL)

	// If the operator allows fewer hosts, existing sessions lose their access.
	s = serve(t, home, o.flags()...)
	visits := o.visits.Load()
	if got := try(s); strings.Contains(got, "GET /") || o.visits.Load() != visits {
		t.Errorf("after the operator's change: got %s, want no answer of the web server", got)
	}
}

func TestAnEgressPolicyAboveTheOperatorsIsDenied(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	for _, e := range []*cellhold.Egress{allow("example.org"), {Policy: cellhold.EgressPublic}} {
		if _, err := s.CreateSession(t.Context(), client.CreateSession{Egress: e}); cellhold.KindOf(err) != cellhold.Denied {
			t.Errorf("%v: got %v, want kind denied", e, err)
		}
	}
	if _, err := s.CreateSession(t.Context(), client.CreateSession{Egress: allow("https://example.org")}); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("a URL: got %v, want kind invalid", err)
	}
}

func TestUsualToolsUseTheProxy(t *testing.T) {
	t.Parallel()
	o := newInternetFixture(t)
	s := serve(t, newHome(t), o.flags("--max-egress", "allowlist", "--egress-host", "*.example.org")...)
	id := s.session(t, client.CreateSession{Egress: allow("a.example.org")})
	site := "http://a.example.org:" + o.port
	o.files = s.repository(t, id)
	// The code does not use "!", because IPython can lose the output of a command that ends at once.
	s.must(t, id, "import subprocess\ndef shell(line): return subprocess.run(line, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout")
	for name, code := range map[string]string{
		"requests": `import requests; r = requests.get("SITE/x"); print(r.status_code, r.text)`,
		"curl":     `print(shell('''curl -sS SITE/x'''))`,
		"tunnel":   `print(shell('''curl -sS --proxytunnel SITE/x'''))`,
		"SOCKS":    `print(shell('''curl -sS --proxy socks5h://127.0.0.1:3128 SITE/x'''))`,
		"pip":      `print(shell('''cd /tmp && pip download --quiet --no-deps --disable-pip-version-check --trusted-host a.example.org --index-url SITE/files/simple tiny==1.0 && ls /tmp/tiny* && echo GET /x at'''))`,
		"git":      `print(shell('''git clone --quiet SITE/files/repo.git /tmp/clone && cat /tmp/clone/hello && echo GET /x at'''))`,
	} {
		got := s.must(t, id, strings.ReplaceAll(code, "SITE", site))
		if !strings.Contains(got, "GET /x at") {
			t.Errorf("%s: got %s, want an answer of the web server", name, got)
		}
	}
	cmd, err := s.RunCommand(t.Context(), id, client.Run{Line: "curl -sS " + site + "/x"})
	if err != nil || !strings.Contains(fmt.Sprint(cmd.Stdout), "GET /x at") {
		t.Errorf("a command: got %+v, %v; want an answer of the web server", cmd, err)
	}
	for name, code := range map[string]string{
		"requests": `import requests
try: requests.get("https://b.example.org:PORT/")
except Exception as e: print(e)`,
		"curl":  `print(shell('''curl -sS http://b.example.org:PORT/'''))`,
		"SOCKS": `print(shell('''curl -sS --proxy socks5h://127.0.0.1:3128 http://b.example.org:PORT/ ; echo "not on this session's allowlist"'''))`,
	} {
		if got := s.must(t, id, strings.ReplaceAll(code, "PORT", o.port)); !strings.Contains(got, "not on this session's allowlist") || strings.Contains(got, "GET /") {
			t.Errorf("%s: got %s, want \"not on this session's allowlist\"", name, got)
		}
	}
}

// repository creates a git repository and an index of Python packages in a session, and returns a handler that
// serves the repository and the index.
func (s *server) repository(t testing.TB, id cellhold.SessionID) http.Handler {
	t.Helper()
	text := s.must(t, id, `
import subprocess, base64
print(base64.b64encode(subprocess.run("""set -e; cd /tmp; mkdir work; cd work; git init --quiet; echo hello > hello; git add hello
git -c user.name=x -c user.email=x@x commit --quiet -m x; cd ..; git clone --quiet --bare work repo.git; cd repo.git; git update-server-info
cd ..; tar c repo.git""", shell=True, check=True, capture_output=True).stdout).decode())`)
	packed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	untar(t, dir, packed)
	simple := filepath.Join(dir, "simple", "tiny")
	if err := os.MkdirAll(simple, 0o755); err != nil {
		t.Fatal(err)
	}
	const wheel = "tiny-1.0-py3-none-any.whl"
	for name, content := range map[string][]byte{"index.html": []byte("<a href=" + wheel + ">" + wheel + "</a>"), wheel: tinyWheel(t)} {
		if err := os.WriteFile(filepath.Join(simple, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return http.StripPrefix("/files/", http.FileServer(http.Dir(dir)))
}

func untar(t testing.TB, dir string, packed []byte) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for r := tar.NewReader(bytes.NewReader(packed)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil && h.FileInfo().IsDir() {
			err = root.MkdirAll(h.Name, 0o755)
		} else if err == nil {
			var content []byte
			if content, err = io.ReadAll(r); err == nil {
				err = root.WriteFile(h.Name, content, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// tinyWheel returns an empty Python package.
func tinyWheel(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string]string{
		"tiny.py":                     "",
		"tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
		"tiny-1.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"tiny-1.0.dist-info/RECORD":   "",
	} {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCodeUsesASecretThatItCannotRead(t *testing.T) {
	t.Parallel()
	const value = "s3cr3t-of-the-test"
	cert, file := certificate(t, "a.example.org", "b.example.org")
	o := newInternetFixture(t, cert)
	home := newHome(t)
	flags := o.flags("--max-egress", "allowlist", "--egress-host", "*.example.org", "--egress-ca", file)
	s := serve(t, home, flags...)
	x, err := s.CreateSession(t.Context(), client.CreateSession{
		Egress:  allow("a.example.org", "b.example.org"),
		Secrets: []cellhold.Secret{{Name: "API_KEY", Host: "a.example.org", Value: value}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(x.Secrets) != "[{API_KEY a.example.org}]" {
		t.Errorf("the session has the secrets %v, want only the name and the host", x.Secrets)
	}
	a, b := "https://a.example.org:"+o.port, "https://b.example.org:"+o.port
	s.must(t, x.ID, `import os, requests, subprocess
key = os.environ["API_KEY"]
head = {"Authorization": "Bearer " + key}`)
	use := func(s *server) {
		t.Helper()
		for name, code := range map[string]string{
			"requests": `print(requests.get("` + a + `/x", headers=head).text)`,
			"urllib":   `import urllib.request; print(urllib.request.urlopen(urllib.request.Request("` + a + `/x", headers=head)).read().decode())`,
			"curl":     `print(subprocess.run(["curl", "-sS", "-H", "Authorization: Bearer " + key, "` + a + `/x"], capture_output=True, text=True))`,
		} {
			if got := s.must(t, x.ID, code); !strings.Contains(got, "GET /x at a.example.org:"+o.port+" with Bearer "+value) {
				t.Errorf("%s: got %s, want an answer to a request with the secret", name, got)
			}
		}
	}
	use(s)
	// Another host gets the placeholder, also after a redirect from the host of the secret.
	for _, code := range []string{
		`print(requests.get("` + b + `/x", headers=head, verify=False).text)`,
		`print(subprocess.run(["curl", "-sSkL", "--location-trusted", "-H", "Authorization: Bearer " + key, "` + a + `/?to=` + b + `/x"], capture_output=True, text=True))`,
	} {
		if got := s.must(t, x.ID, code); !strings.Contains(got, "GET /x at b.example.org:"+o.port+" with Bearer cellhold-secret-") || strings.Contains(got, value) {
			t.Errorf("the other host: got %s, want an answer to a request with the placeholder", got)
		}
	}
	inside := s.must(t, x.ID, `print(subprocess.run("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; cat /run/cellhold/* 2>/dev/null", shell=True, capture_output=True, text=True).stdout)`)
	if strings.Contains(inside, value) || strings.Contains(inside, "PRIVATE") || !strings.Contains(inside, "API_KEY=cellhold-secret-") {
		t.Errorf("the sandbox contains %.2000s\nwant the placeholder, and neither the secret nor a private key", inside)
	}

	s.signal(t, syscall.SIGKILL)
	s = serve(t, home, flags...)
	use(s)
	again, err := s.Session(t.Context(), x.ID)
	if err != nil || fmt.Sprint(again.Secrets) != "[{API_KEY a.example.org}]" || strings.Contains(s.log.String(), value) {
		t.Errorf("after the restart: got the secrets %v, %v; want those of the create request, and no value in the log", again.Secrets, err)
	}
}

// certificate creates a certificate for names. It returns the certificate and the path of its CA file.
func certificate(t testing.TB, names ...string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestAScriptReachesTheHostsThatItsUserAllows(t *testing.T) {
	t.Parallel()
	o := newInternetFixture(t)
	file := filepath.Join(t.TempDir(), "script.py")
	if err := os.WriteFile(file, []byte(fetch+"print(fetch('http://a.example.org:"+o.port+"/x'), fetch('http://b.example.org:"+o.port+"/x'))"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--home", newHome(t), "run"}, o.flags("--allow-host", "a.example.org", file)...)
	out, err := exec.Command(binary(t), args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "GET /x at a.example.org") || !strings.Contains(string(out), "403 b.example.org is not") {
		t.Errorf("got %v and %s, want an answer of a.example.org and 403 for b.example.org", err, out)
	}
}

// private starts a second web server on 127.0.0.2, at the same port. Sessions must not reach it. It returns the
// number of its visits.
func (o *internetFixture) private(t testing.TB) *atomic.Int64 {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.2:"+o.port)
	if err != nil {
		t.Fatal(err)
	}
	visits := &atomic.Int64{}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		visits.Add(1)
		fmt.Fprint(w, "GET private")
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close(); <-done })
	return visits
}

func TestThePublicPolicyReachesNoPrivateAddress(t *testing.T) {
	t.Parallel()
	o := newInternetFixture(t)
	visits := o.private(t)
	s := serve(t, newHome(t), o.flags("--max-egress", "public")...)
	id := s.session(t, client.CreateSession{Egress: &cellhold.Egress{Policy: cellhold.EgressPublic}})
	s.must(t, id, fetch+"import os; os.environ['no_proxy'] = ''")
	if got := s.must(t, id, "print(fetch('http://any.example.org:"+o.port+"/x'))"); !strings.Contains(got, "GET /x at any") {
		t.Fatalf("a public address: got %s, want an answer of the web server", got)
	}
	for _, host := range []string{
		"127.0.0.2", "2130706434", "0x7f000002", "0177.0.0.2", "127.2", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[64:ff9b::7f00:2]", "[2002:7f00:2::1]", "[::1]",
		"0.0.0.0", "localhost", "inside.example.org", "169.254.169.254", "metadata.google.internal", "[fd00:ec2::254]", "100.100.100.200",
		"127.0.0.2.", "any.example.org@127.0.0.2", "127.0.0.2%00.example.org",
	} {
		if got := s.must(t, id, fmt.Sprintf("print(fetch('http://%s:%s/'))", host, o.port)); strings.Contains(got, "GET ") {
			t.Errorf("%s: got %s, want no answer", host, got)
		}
	}
	for _, to := range []string{"http://127.0.0.2:" + o.port, "http://inside.example.org:" + o.port, "http://169.254.169.254/latest"} {
		if got := s.must(t, id, "print(fetch('http://any.example.org:"+o.port+"/?to="+url.QueryEscape(to)+"'))"); !strings.Contains(got, "403") {
			t.Errorf("a redirect to %s: got %s, want 403", to, got)
		}
	}
	for range 3 { // the server must resolve each name once, and connect to the address that it checked
		if got := s.must(t, id, "print(fetch('http://flip.example.org:"+o.port+"/x'), fetch('http://mix.example.org:"+o.port+"/x'))"); strings.Count(got, "GET /x at") != 2 {
			t.Errorf("names whose addresses change: got %s, want 2 answers of the web server", got)
		}
	}
	// Connections that bypass the proxy must fail.
	past := s.must(t, id, strings.ReplaceAll(`
import socket
found = []
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    for to in (("8.8.8.8", 53), ("127.0.0.2", PORT), ("1.1.1.1", 853), ("224.0.0.1", 9)):
        if kind == socket.SOCK_DGRAM and to[0] == "127.0.0.2": continue  # the sandbox's own loopback takes it
        try:
            x = socket.socket(socket.AF_INET, kind); x.settimeout(2); x.connect(to); x.send(b"x"); found.append(to)
        except OSError: pass
try: found.append(socket.getaddrinfo("any.example.org", 80))
except OSError: pass
print(found)`, "PORT", o.port))
	if strings.TrimSpace(past) != "[]" {
		t.Errorf("without the proxy the code reached %s, want []", past)
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("got %d requests at the private address, want 0", n)
	}
}

func TestManyConnectionsWorkAndDoNotDelayTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	o := newInternetFixture(t)
	const size = 24 << 20
	o.files = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/endless") {
			<-r.Context().Done()
			return
		}
		_, _ = io.CopyN(w, zeros{}, size)
	})
	s := serve(t, newHome(t), o.flags("--max-egress", "allowlist", "--egress-host", "a.example.org")...)
	id := s.session(t, client.CreateSession{Egress: allow("a.example.org")})
	site := "http://a.example.org:" + o.port
	s.must(t, id, fetch+"import concurrent.futures as cf, time, threading")
	got := s.must(t, id, fmt.Sprintf("with cf.ThreadPoolExecutor(60) as p: print(sum('GET /x' in r for r in p.map(fetch, ['%s/x'] * 90)))", site))
	if strings.TrimSpace(got) != "90" {
		t.Errorf("got %s answers to 90 concurrent requests, want 90", got)
	}
	got = s.must(t, id, fmt.Sprintf(`begun = time.time(); n = len(urllib.request.urlopen("%s/files/large").read()); print(n, "bytes,", round(n / (time.time() - begun) / 2**20), "MiB/s")`, site))
	t.Log(strings.TrimSpace(got))
	if !strings.HasPrefix(got, fmt.Sprint(size)) {
		t.Errorf("the download: got %s, want %d bytes", got, size)
	}
	// Connections that hang must not delay the end of the session.
	s.must(t, id, fmt.Sprintf(`for _ in range(70): threading.Thread(target=fetch, args=["%s/files/endless"], daemon=True).start()
time.sleep(1)`, site))
	begun := time.Now()
	if err := s.DeleteSession(t.Context(), id); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 20*time.Second { // the connections themselves never end
		t.Errorf("the end of the session took %s, want at most 20s", took)
	}
}

// zeros is a reader of endless zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
