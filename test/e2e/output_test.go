package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// memory measures the resident memory of the server, as the host's kernel reports it.
type memory struct {
	pid  int
	base int64
}

// watchMemory starts a measurement. The server's present memory is the base.
func (s *server) watchMemory(t testing.TB) *memory {
	t.Helper()
	m := &memory{pid: s.cmd.Process.Pid}
	m.base = m.read(t, "VmRSS")
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", m.pid), []byte("5"), 0); err != nil { // resets the peak
		t.Fatal(err)
	}
	return m
}

// read returns a field of the server's /proc status, in bytes.
func (m *memory) read(t testing.TB, field string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if name, value, ok := strings.Cut(line, ":"); ok && name == field {
			n, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("no %s in %s", field, status)
	return 0
}

// checkGrowth fails the test if the server used more than 64 MiB of additional memory at any time.
func (m *memory) checkGrowth(t testing.TB, what string) {
	t.Helper()
	grown := m.read(t, "VmHWM") - m.base
	t.Logf("%s: the server grew by at most %d KiB over %d KiB; now it has %d KiB of its own and %d KiB of files", what, grown>>10, m.base>>10, m.read(t, "RssAnon")>>10, m.read(t, "RssFile")>>10)
	if grown > 64<<20 {
		t.Errorf("%s: the server's memory grew by %d MiB, want at most 64", what, grown>>20)
	}
}

func TestLongOutputIsReturnedAsHeadAndTailAndTheFullTextIsKept(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	const lines = 20_000
	c := s.run(t, id, fmt.Sprintf("for i in range(%d): print('line', i, 'x' * 240)\nimport sys; print('oops', file=sys.stderr)", lines))
	var want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, "line", i, strings.Repeat("x", 240))
	}
	size := int64(want.Len())
	o := c.Outputs[0]
	if !c.Truncated || c.Bytes != size+5 || !o.Truncated || o.Bytes != size || o.Omitted != c.Omitted || o.Omitted < size-(2<<20) {
		t.Errorf("cell: truncated %t, %d bytes, %d omitted; output: %t, %d, %d; want %d bytes", c.Truncated, c.Bytes, c.Omitted, o.Truncated, o.Bytes, o.Omitted, size)
	}
	head, tail, _ := strings.Cut(o.Text, fmt.Sprintf("… %d bytes left out …\n", o.Omitted))
	if !strings.HasPrefix(want.String(), head) || !strings.HasSuffix(want.String(), tail) || int64(len(head)+len(tail)) != size-o.Omitted {
		t.Errorf("the head has %d bytes and the tail %d bytes, want a prefix and a suffix of the text", len(head), len(tail))
	}
	var whole strings.Builder
	if err := s.Text(t.Context(), id, c.ID, "stdout", 0, &whole); err != nil || whole.String() != want.String() {
		t.Errorf("the whole text has %d bytes, %v; want %d", whole.Len(), err, size)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/sessions/"+string(id)+"/cells/"+string(c.ID)+"/text?stream=stdout", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Range", "bytes=3000000-3000099")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	part, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusPartialContent || string(part) != want.String()[3_000_000:3_000_100] {
		t.Errorf("a range: got status %s with %q, %v; want 206 with bytes 3000000 to 3000099", res.Status, part, err)
	}
	var errs strings.Builder
	if err := s.Text(t.Context(), id, c.ID, "stderr", 2, &errs); err != nil || errs.String() != "ps\n" {
		t.Errorf("stderr from byte 2 is %q, %v; want \"ps\"", errs.String(), err)
	}
}

func TestProgressArrivesLiveAndTheCellKeepsItsLastState(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	first := s.run(t, id, "from IPython.display import display, clear_output\nbar = display('0 %', display_id=True)")
	const code = `
import time
for i in range(20):
    print(f'\rstep {i}', end='', flush=True); time.sleep(0.02)
print()
for i in range(20):
    bar.update(f'{i} %')
for i in range(3):
    clear_output(wait=True); print('round', i)
`
	c := s.run(t, id, code)
	if got := text(c); got != "round 2\n" {
		t.Errorf("the cell shows %q at its end, want %q", got, "round 2\n")
	}
	seen := map[cellhold.EventType]int{}
	evs := s.events(t, id, c)
	for _, ev := range evs {
		seen[ev.Type]++
	}
	if seen[cellhold.EventUpdateDisplayData] != 20 || seen[cellhold.EventClearOutput] != 3 || seen[cellhold.EventStream] < 10 {
		t.Errorf("the events of the cell are %v, want 20 updates, 3 clears and at least 10 streams", seen)
	}
	earlier, err := s.Cell(t.Context(), id, first.ID)
	if err != nil || text(earlier) != "'19 %'" || earlier.Outputs[0].DisplayID == "" {
		t.Errorf("the display of the earlier cell shows %q, %v; want '19 %%'", text(earlier), err)
	}
	var nb bytes.Buffer
	if err := s.Notebook(t.Context(), id, &nb); err != nil || !strings.Contains(nb.String(), `"'19 %'"`) || strings.Contains(nb.String(), `"'0 %'"`) {
		t.Errorf("got the notebook (%v)\n%s\nwant only the last update of the display", err, nb.String())
	}
	validate(t, nb.Bytes())
}

// events returns the events of a cell that is done.
func (s *server) events(t testing.TB, id cellhold.SessionID, c cellhold.Cell) (evs []cellhold.Event) {
	t.Helper()
	for ev, err := range s.Watch(t.Context(), id, c.First-1) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Cell == c.ID {
			evs = append(evs, ev)
		}
		if ev.Cell == c.ID && ev.Type == cellhold.EventCellDone {
			break
		}
	}
	return evs
}

// stall requests a session's events, and never reads the answer.
func (s *server) stall(t testing.TB, id cellhold.SessionID) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /v1/sessions/%s/events?stream=sse HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", id, s.token)
}

func TestReadersThatNeverReadUseAtMost64MiBOfServerMemoryAndBlockNoRequest(t *testing.T) {
	s := serve(t, newHome(t))
	id, other := s.session(t, client.CreateSession{}), s.session(t, client.CreateSession{})
	s.must(t, id, "1")
	m := s.watchMemory(t)
	for range 20 {
		s.stall(t, id)
	}
	c, err := s.Submit(t.Context(), id, client.Code{Code: "for i in range(1000): print('x' * 65535, flush=True)"})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitText(t, c)
	if got := s.must(t, other, "6 * 7"); got != "42" {
		t.Errorf("the other session prints %q, want 42", got)
	}
	if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusOK || c.Bytes != 1000<<16 {
		t.Errorf("the cell ended with %s and %d bytes, %v; want ok and 65536000", c.Status, c.Bytes, err)
	}
	m.checkGrowth(t, "62 MiB for 20 readers that never read")
}

func TestOutputOfThreadsChildrenAndProgramsArrives(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, `
import multiprocessing, os, subprocess, sys, threading, time, logging
def say(who): print(who, flush=True)
threads = [threading.Thread(target=say, args=(f'thread {i}',)) for i in range(3)]
children = [multiprocessing.get_context('fork').Process(target=say, args=(f'child {i}',)) for i in range(3)]
for x in threads + children: x.start()
for x in threads + children: x.join()
subprocess.run(['echo', 'a program'])
os.system('echo a shell >&2')
os.write(1, b'a descriptor\n')
logging.warning('a log')
sys.stdout.writelines(['several ', 'lines\n'])
big = threading.Thread(target=lambda: print('x' * 5_000_000)); big.start(); big.join()
time.sleep(1)  # output of programs comes through a pipe, and can arrive later
`)
	got := text(c)
	for _, want := range []string{"thread 0", "thread 1", "thread 2", "child 0", "child 1", "child 2", "a program", "a shell", "a descriptor", "a log", "several ", "lines\n"} {
		if !strings.Contains(got, want) { // two writers can share a line
			t.Errorf("got the output %.2000q, want %q in it", got, want)
		}
	}
	if c.Status != cellhold.StatusOK || c.Bytes < 5_000_000 {
		t.Errorf("the cell ended with %s and %d bytes, want ok and at least 5000000:\n%.2000s", c.Status, c.Bytes, got)
	}
}
