package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"cellhold"
	"cellhold/internal/agent/forward"
	"cellhold/internal/guestapi"
)

const (
	// maxWays bounds the egress proxies of one sandbox: the session's own, and one for each installation of
	// packages that runs.
	maxWays = 8
	// maxTrust bounds the image's own list of certificate authorities. Debian's has 220 KiB.
	maxTrust = 4 << 20
	// systemTrust is the path of that list in Debian's images.
	systemTrust = "/etc/ssl/certs/ca-certificates.crt"
)

// ways are the egress proxies that the host has opened. The protocol calls an egress proxy a way.
type ways struct {
	port int    // of the session's proxy; 0 means any
	dir  string // for the list of certificate authorities; empty means that none can be added

	mu   sync.Mutex
	open map[string]*way
}

// way is one egress proxy on the loopback.
type way struct {
	forward *forward.Forwarder
	token   string
	port    int
	env     map[string]string
	end     context.CancelFunc
	done    chan struct{}
}

// openWay opens an egress proxy, or changes the settings of an open one.
func (a *Agent) openWay(name string, w guestapi.Way) (guestapi.Proxy, error) {
	if !kernelID.MatchString(name) {
		return guestapi.Proxy{}, cellhold.Errorf(cellhold.Invalid, "The name of a way is 1 to 40 letters, digits, '-' or '_'.")
	}
	ctx, err := a.running()
	if err != nil {
		return guestapi.Proxy{}, err
	}
	a.ways.mu.Lock()
	defer a.ways.mu.Unlock()
	current := a.ways.open[name]
	if current != nil && current.token != w.Token {
		a.ways.close(name)
		current = nil
	}
	if current == nil {
		var err error
		if current, err = a.ways.start(ctx, name, w.Token); err != nil {
			return guestapi.Proxy{}, err
		}
	}
	env, err := a.ways.environment(name, current.port, w)
	if err != nil {
		return guestapi.Proxy{}, err
	}
	current.env = env
	return guestapi.Proxy{Port: current.port}, nil
}

// start starts a proxy. The caller must hold mu.
func (s *ways) start(ctx context.Context, name, token string) (*way, error) {
	if len(s.open) >= maxWays {
		return nil, cellhold.Errorf(cellhold.Conflict, "The sandbox already has %d egress proxies; the limit is %d.", len(s.open), maxWays)
	}
	port := 0
	if name == guestapi.SessionWay {
		port = s.port
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("open an egress proxy: %w", err)
	}
	w := &way{forward: forward.New(forward.Options{Token: token}), token: token,
		port: ln.Addr().(*net.TCPAddr).Port, done: make(chan struct{})}
	ctx, w.end = context.WithCancel(ctx)
	go func() { // close and closeAll wait for it
		defer close(w.done)
		w.forward.Serve(ctx, ln)
	}()
	s.open[name] = w
	return w, nil
}

// close ends a proxy. The caller must hold mu.
func (s *ways) close(name string) {
	if w := s.open[name]; w != nil {
		delete(s.open, name)
		w.end()
		<-w.done
	}
}

// has reports whether an egress proxy has a port.
func (s *ways) has(port int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.open {
		if w.port == port {
			return true
		}
	}
	return false
}

func (s *ways) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.open {
		s.close(name)
	}
}

// environment returns the variables with which programs use a proxy. The names of the proxy variables are set in
// upper and lower case, because some programs read only one of them. Other variables name the file with the
// certificate authorities.
func (s *ways) environment(name string, port int, w guestapi.Way) (map[string]string, error) {
	env := map[string]string{}
	user := ""
	if w.Token != "" {
		user = "way:" + w.Token + "@"
	}
	proxy := fmt.Sprintf("http://%s127.0.0.1:%d", user, port)
	for _, v := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		env[v] = proxy
	}
	for _, v := range []string{"NO_PROXY", "no_proxy"} {
		env[v] = "localhost,127.0.0.1,::1"
	}
	if w.Trust != "" {
		file, err := s.trust(name, w.Trust)
		if err != nil {
			return nil, err
		}
		for _, v := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "PIP_CERT"} {
			env[v] = file
		}
	}
	maps.Copy(env, w.Env)
	return env, nil
}

// trust writes a file of certificate authorities that programs can read: first those of the image, then the
// additional ones. It returns the path of the file.
func (s *ways) trust(name, additional string) (string, error) {
	if s.dir == "" {
		return "", cellhold.Errorf(cellhold.Conflict, "This agent has no directory for certificates.")
	}
	all := []byte{}
	if f, err := os.Open(systemTrust); err == nil {
		all, err = io.ReadAll(io.LimitReader(f, maxTrust))
		f.Close()
		if err != nil {
			return "", fmt.Errorf("read the image's certificates: %w", err)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the image's certificates: %w", err)
	}
	all = append(append(all, '\n'), additional...)
	file := filepath.Join(s.dir, "trust-"+name+".pem")
	if err := os.WriteFile(file, all, 0o644); err != nil {
		return "", fmt.Errorf("write certificates: %w", err)
	}
	return file, nil
}

// Environment adds the variables of the session's egress proxy, if there is one, to the variables of a
// program. The program's own values have priority.
func (a *Agent) Environment(own map[string]string) map[string]string {
	a.ways.mu.Lock()
	defer a.ways.mu.Unlock()
	w := a.ways.open[guestapi.SessionWay]
	if w == nil {
		return own
	}
	env := maps.Clone(w.env)
	maps.Copy(env, own)
	return env
}

func (a *Agent) putWay(w http.ResponseWriter, r *http.Request) {
	var want guestapi.Way
	if err := decode(w, r, &want); err != nil {
		problem(w, err)
		return
	}
	proxy, err := a.openWay(r.PathValue("way"), want)
	if err != nil {
		problem(w, err)
		return
	}
	answer(w, proxy)
}

func (a *Agent) deleteWay(w http.ResponseWriter, r *http.Request) {
	a.ways.mu.Lock()
	a.ways.close(r.PathValue("way"))
	a.ways.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// postNext turns a request of the host into a connection. The proxy uses the connection for the next program that
// needs one.
func (a *Agent) postNext(w http.ResponseWriter, r *http.Request) {
	a.ways.mu.Lock()
	current := a.ways.open[r.PathValue("way")]
	a.ways.mu.Unlock()
	if current == nil {
		problem(w, cellhold.Errorf(cellhold.NotFound, "The egress proxy does not exist."))
		return
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		problem(w, err)
		return
	}
	if err := switched(c, guestapi.Upgrade); err != nil {
		c.Close()
		return
	}
	current.forward.Offer(c)
}
