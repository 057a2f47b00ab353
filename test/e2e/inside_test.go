package e2e

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

func decode(r io.Reader, v any) error { return json.NewDecoder(r).Decode(v) }

// python runs a cell that prints one JSON value, and returns the value.
func python[T any](t *testing.T, s *server, id cellhold.SessionID, code string) T {
	t.Helper()
	var v T
	out := s.must(t, id, code)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%s\nprinted %q: %v", code, out, err)
	}
	return v
}

func TestInsideASandboxThereIsNoNetwork(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	code := `
import json, socket
res = {}
def attempt(name, f):
    try:
        f(); res[name] = "works"
    except OSError as e:
        res[name] = type(e).__name__ + ": " + str(e)
def tcp(addr): return lambda: socket.create_connection(addr, timeout=5)
attempt("server", tcp(("127.0.0.1", ` + s.url[strings.LastIndexByte(s.url, ':')+1:] + `)))
attempt("public", tcp(("192.0.2.1", 80)))
attempt("metadata", tcp(("169.254.169.254", 80)))
attempt("ipv6", tcp(("2001:db8::1", 80)))
attempt("dns", lambda: socket.getaddrinfo("example.com", 80))
def udp():
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.sendto(b"x", ("192.0.2.1", 53))
attempt("udp", udp)
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
res["interfaces"] = ",".join(n for _, n in socket.if_nameindex())
print(json.dumps(res))`
	got := python[map[string]string](t, s, id, code)
	for name, result := range got {
		if name != "interfaces" && result == "works" {
			t.Errorf("%s: got works, want an error", name)
		}
	}
	if got["interfaces"] != "lo" {
		t.Errorf("interfaces %q, want lo only", got["interfaces"])
	}
	t.Logf("%v", got)
}

func TestInsideASandboxNothingOfTheHostOrOfAnotherSessionIsVisible(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	const canary = "canary-5b1f0c3a"
	for _, path := range []string{filepath.Join(home, canary), filepath.Join("/tmp", canary)} {
		if err := os.WriteFile(path, []byte(canary), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(path) })
	}
	other := s.session(t, client.CreateSession{User: canary})
	s.must(t, other, `
import os, subprocess
for d in ('/tmp', '/workspace', '/home/user', '/dev/shm', '/mnt/data/output'):
    open(d + '/`+canary+`', 'w').write('`+canary+`')
p = subprocess.Popen(['sleep', '1000'], env={'SECRET': '`+canary+`'})
os.environ['SECRET'] = '`+canary+`'`)
	id := s.session(t, client.CreateSession{})
	// The code joins the searched text from parts. Otherwise it finds its own source.
	code := `
import json, os
needle = ("canary" + "-5b1f0c3a").encode(); token = b"` + s.token[:8] + `" + b"` + s.token[8:] + `"
hits, pids, seen = [], [], 0
for top, dirs, names in os.walk('/'):
    if top == '/': dirs[:] = [d for d in dirs if d not in ('proc', 'sys', 'usr')]
    for n in names + dirs:
        if needle.decode() in n: hits.append(os.path.join(top, n))
    for n in names:
        p = os.path.join(top, n)
        try:
            if os.path.isfile(p) and os.path.getsize(p) < 1 << 20:
                seen += 1
                if needle in open(p, 'rb').read(): hits.append(p)
        except OSError: pass
for pid in filter(str.isdigit, os.listdir('/proc')):
    pids.append(int(pid))
    for f in ('environ', 'cmdline', 'mountinfo'):
        try: data = open(f'/proc/{pid}/{f}', 'rb').read()
        except OSError: continue
        if needle in data or (token in data and int(pid) != os.getpid()): hits.append(f'/proc/{pid}/{f}')
st = os.stat('/proc/1')
print(json.dumps(dict(hits=hits, seen=seen, pids=sorted(pids), uid=os.getuid(), mounts=open('/proc/self/mountinfo').read(),
    caps=''.join(l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')))))`
	got := python[struct {
		Hits   []string
		Seen   int
		PIDs   []int
		UID    int
		Mounts string
		Caps   string
	}](t, s, id, code)
	if len(got.Hits) != 0 {
		t.Errorf("the code found %v, want no trace of the host or of the other session", got.Hits)
	}
	if got.Seen < 20 {
		t.Errorf("the search read %d files, want at least 20: otherwise the search shows nothing", got.Seen)
	}
	if len(got.PIDs) > 4 || got.UID != 1000 || strings.Trim(got.Caps, "0") != "" {
		t.Errorf("processes %v, uid %d, capabilities %s; want at most 4, 1000, 0", got.PIDs, got.UID, got.Caps)
	}
	if strings.Contains(got.Mounts, home) {
		t.Errorf("got the mounts\n%s\nwant no path of the host", got.Mounts)
	}
}

func TestUserCodeCannotKillOrTraceTheAgent(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	got := python[map[string]string](t, s, id, `
import ctypes, json, os, signal
res = {}
def attempt(name, f):
    try:
        f(); res[name] = "works"
    except OSError as e: res[name] = type(e).__name__
libc = ctypes.CDLL(None, use_errno=True)
def ptrace():
    if libc.ptrace(16, 1, 0, 0) != 0: raise OSError(ctypes.get_errno(), "ptrace")
attempt("kill", lambda: os.kill(1, signal.SIGKILL))
attempt("stop", lambda: os.kill(1, signal.SIGSTOP))
attempt("trace", ptrace)
attempt("memory", lambda: open("/proc/1/mem", "rb"))
attempt("fds", lambda: os.listdir("/proc/1/fd"))
attempt("environ", lambda: open("/proc/1/environ", "rb").read())
attempt("agent's folder", lambda: open("/run/cellhold/x", "w"))
attempt("agent's binary", lambda: open("/opt/cellhold/bin/cellhold-guest", "r+b"))
attempt("setuid", lambda: os.setuid(0))
print(json.dumps(res))`)
	for name, result := range got {
		if result == "works" {
			t.Errorf("%s: got works, want an error", name)
		}
	}
	if got := s.must(t, id, "1 + 1"); got != "2" {
		t.Errorf("after the attempts the kernel prints %q, want 2", got)
	}
}
