package hostile

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cellhold/client"
	"cellhold/test/servertest"
)

// TestAServerWithFewDescriptorsRefusesConnectionsAndKeepsItsSessions opens more connections than the server has
// descriptors. Then it closes them.
func TestAServerWithFewDescriptorsRefusesConnectionsAndKeepsItsSessions(t *testing.T) {
	limited := filepath.Join(t.TempDir(), "limited")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n 4096\nexec %q \"$@\"\n", servertest.Binary(t))
	if err := os.WriteFile(limited, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s := servertest.StartBy(t, limited, servertest.NewHome(t))
	id := s.NewSession(t, client.CreateSession{})
	s.MustRun(t, id, "x = 41")
	busy, err := s.Submit(t.Context(), id, client.Code{Code: "import time\nfor i in range(40): time.sleep(0.1); print(i)"})
	if err != nil {
		t.Fatal(err)
	}

	address := strings.TrimPrefix(s.URL, "http://")
	var idle []net.Conn
	for range 2200 {
		c, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	refusedSoon(t, s.URL+"/v1/healthz")

	for _, c := range idle {
		c.Close()
	}
	done, err := s.Wait(t.Context(), id, busy.ID)
	if err != nil || strings.TrimSpace(servertest.Text(done))[len("0\n1\n"):][:1] != "2" || !strings.HasSuffix(strings.TrimSpace(servertest.Text(done)), "39") {
		t.Errorf("the cell that ran all the time ended with %v, %s: %q", err, done.Status, servertest.Text(done))
	}
	if got := s.MustRun(t, id, "print(x + 1)"); strings.TrimSpace(got) != "42" {
		t.Errorf("the kernel prints %q, want 42", got)
	}
}

// refusedSoon waits until a request is refused with a reason. A connection can be closed without an answer, while the
// server answers many others.
func refusedSoon(t *testing.T, url string) {
	t.Helper()
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	var last string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		res, err := fresh.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		last = fmt.Sprint(res.StatusCode, " ", string(body))
		if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "" && strings.Contains(string(body), "too many connections") {
			return
		}
	}
	t.Errorf("the full server answers %s, want 503 with Retry-After and the reason within 10 s", last)
}
