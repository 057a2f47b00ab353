package e2e

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"cellhold"
	"cellhold/client"
)

// pages is a cell that shows n pages of HTML of 15 MiB each.
func pages(n int) string {
	return fmt.Sprintf("from IPython.display import HTML, display\nfor i in range(%d): display(HTML('<b>' * (5 << 20)))", n)
}

// size returns the bytes of an answer.
func (s *server) size(t *testing.T, path string) int64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("GET %s: status %s after %d bytes, %v", path, res.Status, n, err)
	}
	return n
}

// checkPeak fails the test if the server used more than most bytes of memory at any time.
func (m *memory) checkPeak(t testing.TB, most int64, what string) {
	t.Helper()
	peak := m.read(t, "VmHWM")
	t.Logf("%s: the server used at most %d MiB", what, peak>>20)
	if peak > most {
		t.Errorf("%s: the server used %d MiB, want at most %d", what, peak>>20, most>>20)
	}
}

// The limit is far below the memory that the outputs would take without a budget: these steps took 900 MiB to 4 GiB.
func TestLargeOutputsOfManySessionsAndReadersUseABoundedPartOfTheServersMemory(t *testing.T) {
	const most, mostOfFour = 512 << 20, 768 << 20
	s := serve(t, newHome(t))
	ids := s.sessions(t, 4)
	m := s.watchMemory(t)
	show := func(id cellhold.SessionID, n int) (path string) {
		c, err := s.Submit(t.Context(), id, client.Code{Code: pages(n)})
		if err != nil {
			t.Error(err)
			return ""
		}
		path = "/v1/sessions/" + string(id) + "/cells/" + string(c.ID)
		if n := s.size(t, path+"?wait=5m"); n > 32<<20 || n < 25<<20 {
			t.Errorf("the answer with the cell has %d bytes, want 25 to 32 MiB", n)
		}
		return path
	}
	cell := show(ids[0], 4)
	m.checkPeak(t, most, "one cell")
	var run sync.WaitGroup
	for range 8 {
		run.Go(func() { s.size(t, cell) })
	}
	run.Wait()
	m.checkPeak(t, most, "8 readers of one cell")
	for _, path := range []string{"/cells", "/events?limit=5000", "/notebook"} {
		run.Go(func() { s.size(t, "/v1/sessions/"+string(ids[0])+path) })
	}
	run.Wait()
	m.checkPeak(t, most, "readers of lists, events and notebooks")
	for _, id := range ids {
		run.Go(func() { show(id, 2) })
	}
	run.Wait()
	m.checkPeak(t, mostOfFour, "four sessions")
}
