package index

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"cellhold"
)

const page = `{"meta":{"api-version":"1.0"},"name":"a","files":[
 {"filename":"a-1-py3-none-any.whl","url":"/f/a-1-py3-none-any.whl","hashes":{}},
 {"filename":"a-1.tar.gz","url":"/f/a-1.tar.gz","hashes":{}},
 {"filename":"../evil-1-py3-none-any.whl","url":"/f/x","hashes":{}},
 {"filename":"a-2-py3-none-any.whl","url":"ftp://x/y","hashes":{}}]}`

// serve returns an index served by a handler, and a visit to it.
func serve(t *testing.T, h http.HandlerFunc, more ...Source) (*Visit, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, _ := url.Parse(s.URL + "/simple/")
	u.User = url.UserPassword("me", "secret")
	x, err := New(Options{Sources: append(more, Source{URL: u}), HTTP: Transport([]string{u.Hostname()}, nil, nil)})
	if err != nil {
		t.Fatal(err)
	}
	return x.Visit(Rule{}), s
}

func read(t *testing.T, v *Visit, path string) (int, string, error) {
	t.Helper()
	a := v.Open(t.Context(), path)
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	return a.Status, string(b), err
}

func TestAVisitReadsOnlyPagesAndTheFilesOnThem(t *testing.T) {
	v, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			t.Errorf("%s: got the credentials %q, %q; want me, secret", r.URL, user, password)
		}
		switch r.URL.Path {
		case "/simple/a/":
			w.Header().Set("Content-Type", simpleJSON)
			io.WriteString(w, page)
		case "/f/a-1-py3-none-any.whl":
			io.WriteString(w, "wheel")
		default:
			http.NotFound(w, r)
		}
	})
	if status, _, _ := read(t, v, "file/0/a-1-py3-none-any.whl"); status != 404 {
		t.Errorf("a file before its page was read: got status %d, want 404", status)
	}
	status, text, _ := read(t, v, "simple/A/")
	var p struct{ Files []jsonFile }
	if err := json.Unmarshal([]byte(text), &p); err != nil || status != 200 || len(p.Files) != 1 || p.Files[0].URL != "../../file/0/a-1-py3-none-any.whl" {
		t.Fatalf("the page: got status %d with %s, want 200 with one link to file/0", status, text)
	}
	if strings.Contains(text, "secret") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("got the page %s, want no credentials and no address of the index", text)
	}
	if status, text, err := read(t, v, "file/0/a-1-py3-none-any.whl"); status != 200 || text != "wheel" || err != nil {
		t.Errorf("a file on the page: got status %d with %q, %v; want 200 with wheel", status, text, err)
	}
	if files := v.Files(); len(files) != 1 || files[0].Version != "1" || files[0].Project != "a" {
		t.Errorf("got the files %+v, want version 1 of a", files)
	}
	for _, path := range []string{"", "/", "simple/", "simple/../x/", "simple/a/b", "simple/%2e%2e/", "file/0/other.whl", "file/1/a-1.tar.gz", "file/99999999999/x", "file/-1/x", "http://x/"} {
		if status, _, _ := read(t, v, path); status != 404 {
			t.Errorf("%q: got status %d, want 404", path, status)
		}
	}
	if err := v.Fault(); err != nil {
		t.Errorf("got the fault %v, want nil", err)
	}
}

func TestLinksToThisMachineAreNotFollowed(t *testing.T) {
	asked := false
	inward := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer inward.Close()
	// The name differs from that of the index, to which links are allowed.
	other := strings.Replace(inward.URL, "127.0.0.1", "127.0.0.2", 1)
	v, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/simple/b/" {
			http.Redirect(w, r, other+"/simple/b/", http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, `<a href="`+other+`/a-1-py3-none-any.whl">a-1-py3-none-any.whl</a><a href="http://169.254.169.254/a-2-py3-none-any.whl">a-2-py3-none-any.whl</a>`)
	})
	if status, text, _ := read(t, v, "simple/a/"); status != 200 || !strings.Contains(text, "a-2") {
		t.Fatalf("the page: got status %d with %s, want 200 with a-2", status, text)
	}
	for _, path := range []string{"file/0/a-1-py3-none-any.whl", "file/1/a-2-py3-none-any.whl", "simple/b/"} {
		if status, _, _ := read(t, v, path); status != http.StatusBadGateway {
			t.Errorf("%s: got status %d, want 502", path, status)
		}
	}
	if asked || cellhold.KindOf(v.Fault()) != cellhold.Unavailable {
		t.Errorf("the other name got a request: %v, the fault is %v; want false, kind unavailable", asked, v.Fault())
	}
}

func TestAddressesOfThisMachineAndOfCloudMetadataAreRefused(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "169.254.169.254:80": true, "168.63.129.16:80": true, "100.100.100.200:80": true,
		"192.0.0.192:80": true, "[fd00:ec2::254]:80": true, "[::ffff:127.0.0.1]:80": true, "0.0.0.0:80": true, "[fe80::1%eth0]:80": true,
		"192.0.2.7:80": false, "[2001:db8::7]:443": false,
	} {
		if err := refuseInward("tcp", address, nil); errors.Is(err, errInward) != want {
			t.Errorf("%s: got %v, want errInward: %t", address, err, want)
		}
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && refuseInward("tcp", net.JoinHostPort(n.IP.String(), "80"), nil) == nil {
			t.Errorf("%s, an address of this machine: got no error, want one", n)
		}
	}
}

func TestAVisitDoesNotUseTheNextIndexIfOneFails(t *testing.T) {
	_, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", simpleJSON)
		io.WriteString(w, page)
	})
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer broken.Close()
	first, _ := url.Parse(broken.URL + "/simple/")
	second, _ := url.Parse(s.URL + "/simple/")
	x, err := New(Options{Sources: []Source{{URL: first}, {URL: second}}, HTTP: Transport([]string{first.Hostname()}, nil, nil)})
	if err != nil {
		t.Fatal(err)
	}
	v := x.Visit(Rule{})
	if status, _, _ := read(t, v, "simple/a/"); status != http.StatusBadGateway || !strings.Contains(v.Fault().Error(), "500") {
		t.Errorf("got status %d, the fault %v; want 502 and a fault with 500", status, v.Fault())
	}
}

func TestAFolderPrecedesTheIndexAndItsLinksAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	for file, text := range map[string]string{filepath.Join(dir, "a-9-py3-none-any.whl"): "ours", secret: "secret"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(dir, "a-10-py3-none-any.whl")); err != nil {
		t.Fatal(err)
	}
	v, _ := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the index got a request, want 0") }, Source{Folder: dir})
	status, text, _ := read(t, v, "simple/a/")
	if status != 200 || !strings.Contains(text, "a-9-py3") {
		t.Fatalf("the page: got status %d with %s, want 200 with a-9-py3", status, text)
	}
	for i, name := range []string{"a-10-py3-none-any.whl", "a-9-py3-none-any.whl"} {
		status, text, _ := read(t, v, "file/"+string(rune('0'+i))+"/"+name)
		if strings.Contains(text, "secret") || i == 1 && (status != 200 || text != "ours") {
			t.Errorf("%s: got status %d with %q, want ours for a-9, and not the target of the link for a-10", name, status, text)
		}
	}
}

func TestACancelledRequestIsNoFaultOfTheVisit(t *testing.T) {
	v, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v.Open(ctx, "simple/a/").Body.Close()
	if err := v.Fault(); err != nil {
		t.Errorf("the fault after a cancelled request: got %v, want nil", err)
	}
}

func TestARepeatedRequestOfAPageDoesNotReachTheIndex(t *testing.T) {
	asked := 0
	v, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Content-Type", simpleJSON)
		io.WriteString(w, page)
	})
	_, first, _ := read(t, v, "simple/a/")
	for range 3 {
		if _, text, _ := read(t, v, "simple/a/"); text != first {
			t.Errorf("got %s, want the first answer %s", text, first)
		}
	}
	if asked != 1 || len(v.links) != 1 {
		t.Errorf("the index got %d requests, and the visit has %d links; want 1 and 1", asked, len(v.links))
	}
}

func TestAVisitKeepsALimitedNumberOfFiles(t *testing.T) {
	v := (&Index{}).Visit(Rule{})
	many := make([]link, maxLinks)
	for i := range many {
		many[i].name = "a-1-py3-none-any.whl"
	}
	for i := range maxHeld / maxLinks {
		if _, ok := v.keep(string(rune('a'+i)), many); !ok {
			t.Fatalf("page %d: keep returned false, want true", i)
		}
	}
	if _, ok := v.keep("z", many[:1]); ok || len(v.links) != maxHeld {
		t.Errorf("above the limit: keep returned %v with %d links, want false with %d", ok, len(v.links), maxHeld)
	}
}

func TestLargePagesUseLimitedMemoryAndTime(t *testing.T) {
	base, _ := url.Parse("https://index.example/simple/a/")
	files := strings.Repeat("{},", 4*maxLinks) + "{}"
	if _, err := parsePage(simpleJSON, []byte(`{"meta":{"api-version":"1.0"},"files":[`+files+`]}`), base); !errors.Is(err, errPage) {
		t.Errorf("a page with too many files: got %v, want errPage", err)
	}
	if got := testing.AllocsPerRun(1, func() { // at most three for each link within the limit, and 0 for the others
		_, _ = parsePage(simpleJSON, []byte(`{"meta":{"api-version":"1.0"},"files":[`+files+`]}`), base)
	}); got > 3*maxLinks {
		t.Errorf("got %.0f allocations, want at most %d", got, 3*maxLinks)
	}
	begun := time.Now()
	links, err := parsePage("text/html", []byte(`<a href="/f/a-1-py3-none-any.whl">`+strings.Repeat("a<b>", 1<<20)+`</a>`), base)
	if err != nil || len(links) != 0 {
		t.Errorf("a link with a long text: got %d links, %v; want 0", len(links), err)
	}
	if took := time.Since(begun); took > 30*time.Second { // a parser that copies the text for each tag takes half an hour
		t.Errorf("the page took %s, want at most 30s", took)
	}
}

// FuzzPage checks that no page makes the parser panic. Each link of a page is valid, and so is the rewritten page.
func FuzzPage(f *testing.F) {
	f.Add(simpleJSON, page)
	f.Add("text/html", `<base href="/x/"><a href="a-1-py3-none-any.whl#sha256=00" data-yanked>a-1-py3-none-any.whl</a>`)
	base, _ := url.Parse("https://index.example/simple/a/")
	f.Fuzz(func(t *testing.T, kind, text string) {
		links, err := parsePage(kind, []byte(text), base)
		if err != nil {
			return
		}
		for _, l := range links {
			if !fileName().MatchString(l.name) || l.url.Scheme != "https" || l.url.User != nil || l.sha256 != "" && !hexDigest().MatchString(l.sha256) {
				t.Fatalf("got the link %+v, want a file name, https, no user and a hexadecimal hash", l)
			}
		}
		v := (&Index{}).Visit(Rule{Source: true})
		if s, ok := v.keep("a", links); !ok || !json.Valid(v.render("a", s)) {
			t.Fatalf("the rewritten page of %d links: kept %t, want true and valid JSON", len(links), ok)
		}
	})
}

// Sources report their end with the last bytes (HTTP/1.1) or after them (HTTP/2, files). In each case a file with a wrong
// hash arrives incompletely, so an installer cannot use it, and a file with the right one arrives whole.
func TestAFileWithAWrongHashNeverArrivesCompletely(t *testing.T) {
	content := strings.Repeat("wheel", 20_000)
	right := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	for name, source := range map[string]func(io.Reader) io.Reader{
		"the end comes with the last bytes":  iotest.DataErrReader,
		"the end comes after the last bytes": func(r io.Reader) io.Reader { return r },
		"one byte at a time":                 iotest.OneByteReader,
	} {
		for sum, want := range map[string]error{right: nil, strings.Repeat("0", 64): errWrongFile} {
			v := (&Index{}).Visit(Rule{})
			r := newHashed(io.NopCloser(source(strings.NewReader(content))), v, link{name: "a-1-py3-none-any.whl", project: "a", sha256: sum})
			got, err := io.ReadAll(r)
			if !errors.Is(err, want) || (len(got) == len(content)) != (want == nil) || len(v.Files()) != len(got)/len(content) {
				t.Errorf("%s, with the hash %.4s…: got %d of %d bytes, %d listed files and %v, want %v", name, sum, len(got), len(content), len(v.Files()), err, want)
			}
		}
	}
}
