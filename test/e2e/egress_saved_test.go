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

// secretValue is the value of the secret. No sandbox and no snapshot may contain it.
const secretValue = "s3cr3t-of-the-saved"

// egressFixture has the hosts for tests of saved sessions. The operator allows all three. The session allows
// a.example.org, which has a secret, and b.example.org, but not c.example.org.
type egressFixture struct {
	*internetFixture
	flags []string // of a server that allows these hosts

	mu   sync.Mutex
	seen map[string]string // received Authorization headers, by host and path

	streams chan struct{} // receives at each start and each end of a stream
}

func newEgressFixture(t testing.TB) *egressFixture {
	t.Helper()
	cert, file := certificate(t, "a.example.org", "b.example.org", "c.example.org")
	w := &egressFixture{internetFixture: newInternetFixture(t, cert), seen: map[string]string{}, streams: make(chan struct{}, 16)}
	w.flags = w.internetFixture.flags("--max-egress", "allowlist", "--egress-host", "*.example.org", "--egress-ca", file)
	w.files = http.HandlerFunc(w.serve)
	return w
}

// serve answers a request. It does not repeat received headers, because the sandbox would then have the secret.
func (w *egressFixture) serve(rw http.ResponseWriter, r *http.Request) {
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

// received returns the Authorization header of a request, and whether the request arrived.
func (w *egressFixture) received(host, path string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.seen[host+path]
	return v, ok
}

// newSession creates a session that allows a and b, with a secret for a.
func (w *egressFixture) newSession(t testing.TB, s *server) cellhold.SessionID {
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

// tryHosts lets a session request a path from all three hosts. It returns the session's output and the path.
func (w *egressFixture) tryHosts(t testing.TB, s *server, id cellhold.SessionID) (said, path string) {
	t.Helper()
	name := rand.Text()
	return s.must(t, id, fmt.Sprintf("probe(%q)", name)), "/files/" + name
}

// checkEgress checks that a session reaches only its hosts, and that only the host of the secret gets the secret.
// The server must record the attempts for this session, and none for the others.
func (w *egressFixture) checkEgress(t testing.TB, s *server, id cellhold.SessionID, others ...cellhold.SessionID) {
	t.Helper()
	before := map[cellhold.SessionID]map[string]int{}
	for _, x := range append(others, id) {
		before[x] = s.attempts(t, x)
	}
	said, path := w.tryHosts(t, s, id)
	if want := "a.example.org was here\nb.example.org was here\n"; !strings.HasPrefix(said, want) || !strings.Contains(said, "not on this session's allowlist") {
		t.Errorf("the session prints\n%s\nwant answers of a and b, and an error for c", said)
	}
	if got, _ := w.received("a.example.org", path); got != "Bearer "+secretValue {
		t.Errorf("the host of the secret got the header %q, want the value of the secret", got)
	}
	if got, _ := w.received("b.example.org", path); !strings.HasPrefix(got, "Bearer cellhold-secret-") {
		t.Errorf("another host got the header %q, want the placeholder", got)
	}
	if got, ok := w.received("c.example.org", path); ok {
		t.Errorf("a host that is not allowed got a request with %q, want no request", got)
	}
	want := before[id]
	for _, what := range []string{"a.example.org allowed", "b.example.org allowed", "c.example.org refused"} {
		want[what]++
	}
	if got := s.attempts(t, id); !maps.Equal(got, want) {
		t.Errorf("the recorded attempts are %v, want %v", got, want)
	}
	for _, x := range others {
		if got := s.attempts(t, x); !maps.Equal(got, before[x]) {
			t.Errorf("another session has the attempts %v, want the earlier ones %v", got, before[x])
		}
	}
}

// checkNoEgress checks that a session reaches no host.
func (w *egressFixture) checkNoEgress(t testing.TB, s *server, id cellhold.SessionID) {
	t.Helper()
	said, path := w.tryHosts(t, s, id)
	for _, host := range []string{"a.example.org", "b.example.org", "c.example.org"} {
		if got, ok := w.received(host, path); ok {
			t.Errorf("%s got a request with %q, want no request; the session prints:\n%s", host, got, said)
		}
	}
}

// attempts counts the recorded attempts of a session, by host and decision.
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

// startStream lets a thread of the session read an endless stream, and waits until the stream has started.
func (w *egressFixture) startStream(t testing.TB, s *server, id cellhold.SessionID) {
	t.Helper()
	s.must(t, id, "said.clear(); follower = threading.Thread(target=follow); follower.start()")
	w.awaitStream(t)
}

// awaitStream waits for the next start or end of a stream.
func (w *egressFixture) awaitStream(t testing.TB) {
	t.Helper()
	select {
	case <-w.streams:
	case <-time.After(time.Minute):
		t.Fatal("no stream started or ended within a minute")
	}
}

// checkStreamEnded checks that the thread of a restored session saw the end of its stream.
func (w *egressFixture) checkStreamEnded(t testing.TB, s *server, id cellhold.SessionID) {
	t.Helper()
	if got := s.must(t, id, "follower.join(60); follower.is_alive(), len(said) > 0"); got != "(False, True)" {
		t.Errorf("the thread that reads the stream: (alive, has read) is %s, want (False, True)", got)
	}
}

// checkAttemptsEnded checks that the records of all allowed connections have an end.
func (w *egressFixture) checkAttemptsEnded(t testing.TB, s *server, id cellhold.SessionID) {
	t.Helper()
	list, err := s.Attempts(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.Decision == cellhold.EgressAllowed && a.Ended.IsZero() {
			t.Errorf("the record of a connection is %+v, want an end", a)
		}
	}
}

// checkNoSecret checks that a sandbox has the placeholder, and not the secret.
func (s *server) checkNoSecret(t testing.TB, id cellhold.SessionID) {
	t.Helper()
	inside := s.must(t, id, `print(subprocess.run("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; cat /run/cellhold/* 2>/dev/null", shell=True, capture_output=True, text=True).stdout)`)
	if strings.Contains(inside, secretValue) || strings.Contains(inside, "PRIVATE KEY") || !strings.Contains(inside, "API_KEY=cellhold-secret-") {
		t.Errorf("the sandbox contains %.2000s\nwant the placeholder, and neither the secret nor a private key", inside)
	}
}

// checkSnapshotsForSecret checks that the snapshots have the placeholder, and not the secret.
func checkSnapshotsForSecret(t testing.TB, home string) {
	t.Helper()
	placeholders := 0
	err := filepath.WalkDir(filepath.Join(home, "snapshots"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(p)
		if bytes.Contains(content, []byte(secretValue)) {
			t.Errorf("%s contains the secret, want only the placeholder", p)
		}
		placeholders += bytes.Count(content, []byte("cellhold-secret-"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if placeholders == 0 {
		t.Error("got 0 placeholders in the snapshots, want at least 1: otherwise this check cannot find a secret")
	}
}

func TestAHibernatedSessionKeepsItsEgressAndSecrets(t *testing.T) {
	t.Parallel()
	w, home := newEgressFixture(t), newHome(t)
	s := serve(t, home, w.flags...)
	id := w.newSession(t, s)
	w.checkEgress(t, s, id)
	w.startStream(t, s, id)
	s.hibernate(t, id)
	w.awaitStream(t)
	w.checkAttemptsEnded(t, s, id)
	checkSnapshotsForSecret(t, home)
	s.signal(t, syscall.SIGKILL)

	s = serve(t, home, w.flags...)
	w.checkEgress(t, s, id)
	w.checkStreamEnded(t, s, id)
	s.checkNoSecret(t, id)
	s.hibernate(t, id)
	w.checkEgress(t, s, id)
	if x, err := s.Session(t.Context(), id); err != nil || fmt.Sprint(x.Egress, x.Secrets) != "{allowlist [a.example.org b.example.org]} [{API_KEY a.example.org}]" {
		t.Errorf("the session has the egress %v and the secrets %v (%v), want those of its create request", x.Egress, x.Secrets, err)
	}
	s.hibernate(t, id)
	s.signal(t, syscall.SIGTERM)

	// If the operator allows fewer hosts, a hibernated session loses its access too.
	s = serve(t, home, w.internetFixture.flags()...)
	w.checkNoEgress(t, s, id)
}

func TestForksHaveTheirParentsEgressAndTheirOwnRecords(t *testing.T) {
	t.Parallel()
	w, home := newEgressFixture(t), newHome(t)
	s := serve(t, home, w.flags...)
	id := w.newSession(t, s)
	w.checkEgress(t, s, id)
	w.startStream(t, s, id)
	forks, err := s.Fork(t.Context(), id, 2, "")
	if err != nil {
		t.Fatal(err)
	}
	one, two := forks[0].ID, forks[1].ID
	w.checkEgress(t, s, one, id, two)
	w.checkEgress(t, s, two, id, one)
	w.checkEgress(t, s, id, one, two)
	w.checkStreamEnded(t, s, one) // forks do not have the parent's connection
	s.checkNoSecret(t, one)
	if got := s.must(t, id, "follower.is_alive()"); got != "True" {
		t.Errorf("after the fork, the parent's thread is alive: %s, want True", got)
	}
	if got := fmt.Sprint(forks[0].Egress, forks[0].Secrets); got != "{allowlist [a.example.org b.example.org]} [{API_KEY a.example.org}]" {
		t.Errorf("a fork has the egress and secrets %s, want %s", got, "{allowlist [a.example.org b.example.org]} [{API_KEY a.example.org}]")
	}
	if err := s.DeleteSession(t.Context(), id); err != nil { // deletes its secrets, but not the secrets of the forks
		t.Fatal(err)
	}
	w.checkEgress(t, s, one, two)

	// A session without egress has forks without egress.
	closed := s.session(t, client.CreateSession{})
	forks, err = s.Fork(t.Context(), closed, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	s.must(t, forks[0].ID, fetch)
	visits := w.visits.Load()
	for _, proxy := range []string{"", "os.environ['https_proxy'] = 'http://127.0.0.1:3128'; "} {
		if got := s.must(t, forks[0].ID, "import os; "+proxy+"print(fetch('https://a.example.org:"+w.port+"/x'))"); strings.Contains(got, "GET /") || w.visits.Load() != visits {
			t.Errorf("a fork without egress prints %s, want an error and no request at the server", got)
		}
	}
	if got := s.attempts(t, forks[0].ID); len(got) > 0 {
		t.Errorf("a fork without egress has the attempts %v, want 0", got)
	}
	if _, err := s.Checkpoint(t.Context(), one, "wide"); err != nil {
		t.Fatal(err)
	}
	s.signal(t, syscall.SIGTERM)

	// A fork does not get access that the operator no longer allows. Another caller cannot fork the session.
	const other = "another-callers-token-of-the-test"
	addToken(t, home, "other "+other)
	s = serve(t, home, w.internetFixture.flags()...)
	for _, from := range []string{"", "wide"} {
		late, err := s.Fork(t.Context(), one, 1, from)
		if err != nil {
			t.Fatal(err)
		}
		w.checkNoEgress(t, s, late[0].ID)
	}
	otherCaller, err := client.New(client.Options{URL: s.url, Token: other})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := otherCaller.Fork(t.Context(), one, 1, ""); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("a fork by another caller: got %v, want kind not_found", err)
	}
	if _, err := otherCaller.Attempts(t.Context(), one); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("attempts for another caller: got %v, want kind not_found", err)
	}
}

// addToken adds a line with a caller to the token file of a home.
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

func TestARollbackKeepsEgressAndAttempts(t *testing.T) {
	t.Parallel()
	w, home := newEgressFixture(t), newHome(t)
	s := serve(t, home, w.flags...)
	id := w.newSession(t, s)
	w.startStream(t, s, id)
	if _, err := s.Checkpoint(t.Context(), id, "first"); err != nil {
		t.Fatal(err)
	}
	w.checkEgress(t, s, id) // the session still has its access
	checkSnapshotsForSecret(t, home)
	rollBack := func() {
		t.Helper()
		before := s.attempts(t, id)
		if _, err := s.Rollback(t.Context(), id, "first"); err != nil {
			t.Fatal(err)
		}
		if after := s.attempts(t, id); !maps.Equal(before, after) {
			t.Errorf("got the attempts %v after the rollback, want %v", after, before)
		}
		w.checkAttemptsEnded(t, s, id) // before the next attempts: a connection can end after the session has its answer
		w.checkStreamEnded(t, s, id)
		w.checkEgress(t, s, id)
	}
	rollBack()
	w.awaitStream(t) // the rollback ended the stream
	s.hibernate(t, id)
	rollBack()
	s.checkNoSecret(t, id)
	if got, want := s.attempts(t, id), (map[string]int{"a.example.org allowed": 3, "b.example.org allowed": 4, "c.example.org refused": 3}); !maps.Equal(got, want) {
		t.Errorf("the recorded attempts are %v, want %v", got, want)
	}
	s.signal(t, syscall.SIGTERM)

	// If the operator allows fewer hosts, the checkpoint does not restore the access.
	s = serve(t, home, w.internetFixture.flags()...)
	if _, err := s.Rollback(t.Context(), id, "first"); err != nil {
		t.Fatal(err)
	}
	w.checkNoEgress(t, s, id)
}
