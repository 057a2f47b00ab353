package forward

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cellhold/internal/guestapi"
)

// patience bounds the wait of a test.
const patience = 20 * time.Second

// rig is a forwarder with a host that connects only to one web server.
type rig struct {
	testing.TB
	f     *Forwarder
	addr  string // of the proxy
	site  *httptest.Server
	mu    sync.Mutex
	asked []guestapi.Ask
}

func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	r := &rig{TB: t, f: New(o)}
	r.site = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprintf(w, "%s %s at %s %s", q.Method, q.RequestURI, q.Host, q.Header.Get("Proxy-Authorization"))
	}))
	t.Cleanup(r.site.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { r.f.Serve(ctx, ln) })
	run.Go(func() { r.host(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	return r
}

// host offers connections one after the other, and serves them, until the context ends.
func (r *rig) host(ctx context.Context) {
	var run sync.WaitGroup
	defer run.Wait()
	for ctx.Err() == nil {
		host, guest, err := pair()
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { host.Close() })
		r.f.Offer(guest)
		in := bufio.NewReader(host)
		line, err := in.ReadBytes('\n')
		if err != nil {
			stop()
			host.Close()
			return
		}
		run.Go(func() { defer stop(); r.serve(host, in, line) })
	}
}

func (r *rig) serve(c net.Conn, in *bufio.Reader, line []byte) {
	defer c.Close()
	var ask guestapi.Ask
	if json.Unmarshal(line, &ask) != nil {
		return
	}
	r.mu.Lock()
	r.asked = append(r.asked, ask)
	r.mu.Unlock()
	if ask.Host != "site.example" {
		_ = json.NewEncoder(c).Encode(guestapi.Answer{Refused: true, Error: ask.Host + " is not on the list.\r\nX: é"})
		return
	}
	out, err := net.Dial("tcp", r.site.Listener.Addr().String())
	if err != nil {
		return
	}
	_ = json.NewEncoder(c).Encode(guestapi.Answer{})
	var run sync.WaitGroup
	run.Go(func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() })
	_, _ = io.Copy(c, out)
	c.Close()
	run.Wait()
	out.Close()
}

// pair returns both ends of a connection.
func pair() (a, b net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	b, err = ln.Accept()
	return a, b, err
}

// dial connects to the proxy.
func (r *rig) dial() net.Conn {
	r.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// say sends text. It returns the status, the status line and the body of the answer.
func (r *rig) say(c net.Conn, text string) (int, string, string) {
	r.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		r.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err.Error(), ""
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, res.Status, string(body)
}

func TestProgramsUseTheProxyByHTTP(t *testing.T) {
	r := newRig(t, Options{})
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: r.addr})}}
	defer client.CloseIdleConnections()
	for range 3 { // the connection is reused
		res, err := client.Post("http://site.example/a?b", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(body) != "POST /a?b at site.example " {
			t.Errorf("got %s", body)
		}
	}
	c := r.dial()
	fmt.Fprintf(c, "CONNECT site.example:80 HTTP/1.1\r\nHost: site.example:80\r\n\r\n")
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200 ") {
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = in.ReadString('\n')
	fmt.Fprintf(c, "GET /x HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n\r\n")
	if all, _ := io.ReadAll(in); !strings.Contains(string(all), "GET /x at site.example") {
		t.Errorf("got %s", all)
	}
}

func TestARefusalIsReported(t *testing.T) {
	r := newRig(t, Options{})
	for _, text := range []string{
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
		"GET http://evil.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n",
	} {
		status, line, body := r.say(r.dial(), text)
		if status != http.StatusForbidden || !strings.Contains(body, "evil.example is not on the list.") || strings.HasPrefix(text, "CONNECT") && !strings.Contains(line, "not on the list") {
			t.Errorf("%q: %d %q %q", text, status, line, body)
		}
	}
}

func TestAnInvalidProxyRequestIsRefused(t *testing.T) {
	r := newRig(t, Options{})
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: site.example\r\n\r\n",
		"GET https://site.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n",
		"GET ftp://site.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n",
		"CONNECT site.example HTTP/1.1\r\nHost: site.example\r\n\r\n",
		"CONNECT site.example:99999 HTTP/1.1\r\nHost: site.example:99999\r\n\r\n",
		"CONNECT site.example:0 HTTP/1.1\r\nHost: site.example:0\r\n\r\n",
		"CONNECT :80 HTTP/1.1\r\nHost: :80\r\n\r\n",
		"\x04\x01\x00\x50\x00\x00\x00\x01\r\n\r\n",
		"nonsense\r\n\r\n",
	} {
		if status, _, _ := r.say(r.dial(), text); status == http.StatusOK {
			t.Errorf("%q: %d", text, status)
		}
	}
	if len(r.asked) > 0 {
		t.Errorf("the host was asked for %v", r.asked)
	}
}

func TestAPasswordIsRequired(t *testing.T) {
	r := newRig(t, Options{Token: "right"})
	request := "GET http://site.example/ HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n%s\r\n"
	auth := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for header, want := range map[string]int{
		"":                           407,
		"Proxy-Authorization: x\r\n": 407,
		"Proxy-Authorization: Basic " + auth("way:wrong") + "\r\n": 407,
		"Proxy-Authorization: Basic " + auth("right") + "\r\n":     407,
		"Proxy-Authorization: Basic " + auth("way:right") + "\r\n": 200,
	} {
		status, _, body := r.say(r.dial(), fmt.Sprintf(request, header))
		if status != want || strings.Contains(body, "Basic") {
			t.Errorf("%q: %d %s", header, status, body)
		}
	}
	for hello, want := range map[string]string{
		"\x05\x01\x00":                         "\x05\xff",
		"\x05\x02\x00\x02\x01\x03way\x05wrong": "\x05\x02\x01\x01",
		"\x05\x01\x02\x01\x03way\x05right\x05\x01\x00\x03\x0csite.example\x00\x50": "\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00",
	} {
		c := r.dial()
		_, _ = io.WriteString(c, hello)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Errorf("%q: got %q, %v", hello, got, err)
		}
	}
}

func TestProgramsUseTheProxyBySOCKS(t *testing.T) {
	r := newRig(t, Options{})
	for request, code := range map[string]byte{
		"\x05\x01\x00\x03\x0csite.example\x00\x50":                       replyDone,
		"\x05\x01\x00\x03\x0cevil.example\x00\x50":                       replyNotAllowed,
		"\x05\x01\x00\x03\x05a\x00b\r\n\x00\x50":                         replyNotAllowed,
		"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50":                       replyNotAllowed,
		"\x05\x02\x00\x03\x0csite.example\x00\x50":                       replyNoCommand,
		"\x05\x03\x00\x03\x0csite.example\x00\x50":                       replyNoCommand,
		"\x05\x01\x00\x07\x0csite.example\x00\x50":                       replyNoAddress,
		"\x05\x01\x00\x04" + strings.Repeat("\x00", 15) + "\x01\x00\x50": replyNotAllowed,
	} {
		c := r.dial()
		_, _ = io.WriteString(c, "\x05\x01\x00"+request)
		got := make([]byte, 4)
		if _, err := io.ReadFull(c, got); err != nil || got[3] != code {
			t.Errorf("%q: got %v, %v; want %d", request, got, err, code)
			continue
		}
		if code != replyDone {
			continue
		}
		_, _ = io.CopyN(io.Discard, c, 8)
		if status, _, body := r.say(c, "GET /x HTTP/1.1\r\nHost: site.example\r\n\r\n"); status != 200 || !strings.Contains(body, "GET /x") {
			t.Errorf("%d %s", status, body)
		}
	}
}

func TestConnectionsOfAnEndedHostAreSkipped(t *testing.T) {
	r := newRig(t, Options{})
	for range 2 * maxOffers {
		host, guest, err := pair()
		if err != nil {
			t.Fatal(err)
		}
		host.Close()
		r.f.Offer(guest)
	}
	fresh, guest, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	r.f.pool.mu.Lock() // the forwarder takes the oldest connection last
	r.f.pool.conns = append([]net.Conn{guest}, r.f.pool.conns...)
	r.f.pool.mu.Unlock()
	var run sync.WaitGroup
	defer func() { fresh.Close(); run.Wait() }()
	run.Go(func() {
		in := bufio.NewReader(fresh)
		if line, err := in.ReadBytes('\n'); err == nil {
			r.serve(fresh, in, line)
		}
	})
	if status, _, body := r.say(r.dial(), "GET http://site.example/ HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n\r\n"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestWithoutAHostAProgramGetsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		_, err := New(Options{}).dial(t.Context(), "site.example", 80)
		if err != errNoHost || time.Since(begun) != hostTime {
			t.Errorf("%v after %s, want %v after %s", err, time.Since(begun), errNoHost, hostTime)
		}
	})
}

// FuzzProgram sends arbitrary bytes to the proxy. No connection may hang, and each question to the host must be one
// line.
func FuzzProgram(f *testing.F) {
	for _, s := range []string{
		"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "\x05\x01\x00\x05\x01\x00\x03\x01a\x00\x50",
		"\x05\x01\x02\x01\x01a\x01b", "POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "\x04\x01", "\x16\x03\x01",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fw := New(Options{})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { fw.Serve(ctx, ln) })
		host, guest := net.Pipe()
		fw.Offer(guest)
		run.Go(func() {
			line, err := bufio.NewReaderSize(host, guestapi.MaxLine).ReadSlice('\n')
			if err == nil {
				var ask guestapi.Ask
				if err := json.Unmarshal(line, &ask); err != nil || ask.Port < 0 || ask.Port > 65535 {
					t.Errorf("the host is asked %q", line)
				}
			}
			host.Close()
			cancel()
		})
		c, err := net.Dial("tcp", ln.Addr().String())
		if err == nil {
			_, _ = io.Copy(c, bytes.NewReader(data))
			_ = c.(*net.TCPConn).CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // a refusal comes at once
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
		cancel()
		host.Close()
		run.Wait()
	})
}
