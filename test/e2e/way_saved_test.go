package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// secretValue is what no sandbox may ever have.
const secretValue = "s3cr3t-of-the-saved"

// wayOut is the outside of stories about sessions that are saved: a.example.org has a secret, b.example.org is
// allowed, and c.example.org is what the operator allows and the session does not.
type wayOut struct {
	*outsider
	flags []string

	mu   sync.Mutex
	seen map[string]string // what came with the requests, by host and path

	streams chan struct{} // gets one for each stream that has begun, and one for each that has ended
}

func newWayOut(t testing.TB) *wayOut {
	t.Helper()
	cert, file := certificate(t, "a.example.org", "b.example.org", "c.example.org")
	w := &wayOut{outsider: newOutsider(t, cert), seen: map[string]string{}, streams: make(chan struct{}, 16)}
	w.flags = w.outsider.flags("--max-egress", "allowlist", "--egress-host", "*.example.org", "--egress-ca", file)
	w.files = http.HandlerFunc(w.serve)
	return w
}

// serve does not repeat what it was sent: then the sandbox would have the secret.
func (w *wayOut) serve(rw http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	if strings.HasSuffix(r.URL.Path, "/endless") {
		fmt.Fprintln(rw, "begun")
		_ = http.NewResponseController(rw).Flush()
		w.streams <- struct{}{}
		<-r.Context().Done()
		w.streams <- struct{}{}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[host+r.URL.Path] = r.Header.Get("Authorization")
	fmt.Fprintf(rw, "%s was here", host)
}

// came returns what came with a request, and whether there was one.
func (w *wayOut) came(host, path string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.seen[host+path]
	return v, ok
}

// open makes a session that may reach a and b, with a secret for a.
func (w *wayOut) open(t testing.TB, s *server) cellhold.SessionID {
	t.Helper()
	id := s.session(t, client.CreateSession{Egress: allow("a.example.org", "b.example.org"),
		Secrets: []cellhold.Secret{{Name: "API_KEY", Host: "a.example.org", Value: secretValue}}})
	s.must(t, id, strings.ReplaceAll(`
import os, requests, subprocess, threading
requests.packages.urllib3.disable_warnings()
head = {"Authorization": "Bearer " + os.environ["API_KEY"]}
def get(host, path, **more):
    return requests.get(f"https://{host}.example.org:PORT/files/{path}", headers=head, verify=host == "a", timeout=120, **more)
def probe(path):
    for host in "abc":
        try: print(get(host, path).text)
        except Exception as e: print(e)
said = []
def follow():
    try: said.extend(get("b", "endless", stream=True).iter_lines())
    except Exception as e: said.append(repr(e))
`, "PORT", w.port))
	return id
}

// probe lets a session try all three hosts, and returns what it says and the path that it asked for.
func (w *wayOut) probe(t testing.TB, s *server, id cellhold.SessionID) (said, path string) {
	t.Helper()
	name := rand.Text()
	return s.must(t, id, fmt.Sprintf("probe(%q)", name)), "/files/" + name
}

// holds checks that a session's way out is as it was made: what it leads to, what it does with the secret,
// and whose record has the attempts.
func (w *wayOut) holds(t testing.TB, s *server, id cellhold.SessionID, others ...cellhold.SessionID) {
	t.Helper()
	before := map[cellhold.SessionID]map[string]int{}
	for _, x := range append(others, id) {
		before[x] = s.attempts(t, x)
	}
	said, path := w.probe(t, s, id)
	if want := "a.example.org was here\nb.example.org was here\n"; !strings.HasPrefix(said, want) || !strings.Contains(said, "not on this session's allowlist") {
		t.Errorf("the session says:\n%s", said)
	}
	if got, _ := w.came("a.example.org", path); got != "Bearer "+secretValue {
		t.Errorf("the secret's host got %q", got)
	}
	if got, _ := w.came("b.example.org", path); !strings.HasPrefix(got, "Bearer cellhold-secret-") {
		t.Errorf("another host got %q", got)
	}
	if got, ok := w.came("c.example.org", path); ok {
		t.Errorf("a host that is not allowed got %q", got)
	}
	want := before[id]
	for _, what := range []string{"a.example.org allowed", "b.example.org allowed", "c.example.org refused"} {
		want[what]++
	}
	if got := s.attempts(t, id); !maps.Equal(got, want) {
		t.Errorf("recorded %v, and not %v", got, want)
	}
	for _, x := range others {
		if got := s.attempts(t, x); !maps.Equal(got, before[x]) {
			t.Errorf("of another session's attempts there were %v, and now %v", before[x], got)
		}
	}
}

// shut checks that a session gets nowhere.
func (w *wayOut) shut(t testing.TB, s *server, id cellhold.SessionID) {
	t.Helper()
	said, path := w.probe(t, s, id)
	for _, host := range []string{"a.example.org", "b.example.org", "c.example.org"} {
		if got, ok := w.came(host, path); ok {
			t.Errorf("%s got %q; the session says:\n%s", host, got, said)
		}
	}
}

// attempts counts what is recorded of a session, by host and decision.
func (s *server) attempts(t testing.TB, id cellhold.SessionID) map[string]int {
	t.Helper()
	list, err := s.Attempts(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, a := range list {
		n[a.Host+" "+string(a.Decision)]++
	}
	return n
}

// follow lets a thread of the session read a stream that has no end, and returns when it has begun.
func (w *wayOut) follow(t testing.TB, s *server, id cellhold.SessionID) {
	t.Helper()
	s.must(t, id, "said.clear(); follower = threading.Thread(target=follow); follower.start()")
	w.awaitStream(t)
}

// awaitStream returns when a stream has begun or ended.
func (w *wayOut) awaitStream(t testing.TB) {
	t.Helper()
	select {
	case <-w.streams:
	case <-time.After(time.Minute):
		t.Fatal("the stream has neither begun nor ended")
	}
}

// broken checks that the thread of a session that goes on elsewhere has seen its stream end.
func (w *wayOut) broken(t testing.TB, s *server, id cellhold.SessionID) {
	t.Helper()
	if got := s.must(t, id, "follower.join(60); follower.is_alive(), len(said) > 0"); got != "(False, True)" {
		t.Errorf("the thread reads on a connection that is gone: %s", got)
	}
}

// ended checks that all recorded connections have ended.
func (w *wayOut) ended(t testing.TB, s *server, id cellhold.SessionID) {
	t.Helper()
	list, err := s.Attempts(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.Decision == cellhold.EgressAllowed && a.Ended.IsZero() {
			t.Errorf("recorded as open: %+v", a)
		}
	}
}

// blind checks that nothing in a sandbox has the secret, which has a placeholder for it.
func (s *server) blind(t testing.TB, id cellhold.SessionID) {
	t.Helper()
	inside := s.must(t, id, `print(subprocess.run("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; cat /run/cellhold/* 2>/dev/null", shell=True, capture_output=True, text=True).stdout)`)
	if strings.Contains(inside, secretValue) || strings.Contains(inside, "PRIVATE KEY") || !strings.Contains(inside, "API_KEY=cellhold-secret-") {
		t.Errorf("the sandbox has the secret, or no placeholder: %.2000s", inside)
	}
}

// notSaved checks that what is saved of sessions does not have the secret, though it has the placeholder.
func notSaved(t testing.TB, home string) {
	t.Helper()
	placeholders := 0
	err := filepath.WalkDir(filepath.Join(home, "snapshots"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(p)
		if bytes.Contains(content, []byte(secretValue)) {
			t.Errorf("%s has the secret", p)
		}
		placeholders += bytes.Count(content, []byte("cellhold-secret-"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if placeholders == 0 {
		t.Error("what is saved has no placeholder: this check sees nothing")
	}
}

func TestTheWayOutAndItsSecretsHoldAfterSleep(t *testing.T) {
	t.Parallel()
	w, home := newWayOut(t), newHome(t)
	s := serve(t, home, w.flags...)
	id := w.open(t, s)
	w.holds(t, s, id)
	w.follow(t, s, id)
	s.hibernate(t, id)
	w.awaitStream(t)
	w.ended(t, s, id)
	notSaved(t, home)
	s.signal(t, syscall.SIGKILL)

	s = serve(t, home, w.flags...)
	w.holds(t, s, id)
	w.broken(t, s, id)
	s.blind(t, id)
	s.hibernate(t, id)
	w.holds(t, s, id)
	if x, err := s.Session(t.Context(), id); err != nil || fmt.Sprint(x.Egress, x.Secrets) != "{allowlist [a.example.org b.example.org]} [{API_KEY a.example.org}]" {
		t.Errorf("the session says %v %v, %v", x.Egress, x.Secrets, err)
	}
	s.hibernate(t, id)
	s.signal(t, syscall.SIGTERM)

	// An operator who allows less closes the way of what sleeps, too.
	s = serve(t, home, w.outsider.flags()...)
	w.shut(t, s, id)
}

func TestForksGetTheirParentsWayOutAndRecordsOfTheirOwn(t *testing.T) {
	t.Parallel()
	w, home := newWayOut(t), newHome(t)
	s := serve(t, home, w.flags...)
	id := w.open(t, s)
	w.holds(t, s, id)
	w.follow(t, s, id)
	forks, err := s.Fork(t.Context(), id, 2, "")
	if err != nil {
		t.Fatal(err)
	}
	one, two := forks[0].ID, forks[1].ID
	w.holds(t, s, one, id, two)
	w.holds(t, s, two, id, one)
	w.holds(t, s, id, one, two)
	w.broken(t, s, one) // of the parent's connection they have nothing
	s.blind(t, one)
	if got := s.must(t, id, "follower.is_alive()"); got != "True" {
		t.Error("the parent's connection broke when it was forked")
	}
	if got := fmt.Sprint(forks[0].Egress, forks[0].Secrets); got != "{allowlist [a.example.org b.example.org]} [{API_KEY a.example.org}]" {
		t.Errorf("a fork says %s", got)
	}
	if err := s.DeleteSession(t.Context(), id); err != nil { // its secrets end with it, those of forks do not
		t.Fatal(err)
	}
	w.holds(t, s, one, two)

	// What has no way out has forks without one.
	closed := s.session(t, client.CreateSession{})
	forks, err = s.Fork(t.Context(), closed, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	s.must(t, forks[0].ID, fetch)
	visits := w.visits.Load()
	for _, proxy := range []string{"", "os.environ['https_proxy'] = 'http://127.0.0.1:3128'; "} {
		if got := s.must(t, forks[0].ID, "import os; "+proxy+"print(fetch('https://a.example.org:"+w.port+"/x'))"); strings.Contains(got, "GET /") || w.visits.Load() != visits {
			t.Errorf("a fork without a way out says %s", got)
		}
	}
	if got := s.attempts(t, forks[0].ID); len(got) > 0 {
		t.Errorf("recorded %v", got)
	}
	if _, err := s.Checkpoint(t.Context(), one, "wide"); err != nil {
		t.Fatal(err)
	}
	s.signal(t, syscall.SIGTERM)

	// Nor does a fork get what the operator allows no more, or what is another caller's.
	const other = "another-callers-token-of-the-test"
	addToken(t, home, "other "+other)
	s = serve(t, home, w.outsider.flags()...)
	for _, from := range []string{"", "wide"} {
		late, err := s.Fork(t.Context(), one, 1, from)
		if err != nil {
			t.Fatal(err)
		}
		w.shut(t, s, late[0].ID)
	}
	stranger, err := client.New(client.Options{URL: s.url, Token: other})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Fork(t.Context(), one, 1, ""); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("another caller forks the session: %v", err)
	}
	if _, err := stranger.Attempts(t.Context(), one); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("another caller reads its attempts: %v", err)
	}
}

// addToken adds a caller to those of a home.
func addToken(t testing.TB, home, line string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(home, "token"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, line); err != nil {
		t.Fatal(err)
	}
}

func TestARollbackKeepsTheWayOutAndForgetsNoAttempt(t *testing.T) {
	t.Parallel()
	w, home := newWayOut(t), newHome(t)
	s := serve(t, home, w.flags...)
	id := w.open(t, s)
	w.follow(t, s, id)
	if _, err := s.Checkpoint(t.Context(), id, "first"); err != nil {
		t.Fatal(err)
	}
	w.holds(t, s, id) // the checkpoint has not closed the way
	notSaved(t, home)
	back := func() {
		t.Helper()
		before := s.attempts(t, id)
		if _, err := s.Rollback(t.Context(), id, "first"); err != nil {
			t.Fatal(err)
		}
		if after := s.attempts(t, id); !maps.Equal(before, after) {
			t.Errorf("before the rollback %v were recorded, and after it %v", before, after)
		}
		w.broken(t, s, id)
		w.holds(t, s, id)
		w.ended(t, s, id)
	}
	back()
	w.awaitStream(t) // it ended with what was rolled back
	s.hibernate(t, id)
	back()
	s.blind(t, id)
	if got, want := s.attempts(t, id), (map[string]int{"a.example.org allowed": 3, "b.example.org allowed": 4, "c.example.org refused": 3}); !maps.Equal(got, want) {
		t.Errorf("recorded %v, and not %v", got, want)
	}
	s.signal(t, syscall.SIGTERM)

	// A checkpoint of better times opens nothing.
	s = serve(t, home, w.outsider.flags()...)
	if _, err := s.Rollback(t.Context(), id, "first"); err != nil {
		t.Fatal(err)
	}
	w.shut(t, s, id)
}
