package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// command runs a command, and returns it when it is done.
func (s *server) command(t testing.TB, id cellhold.SessionID, r client.Run) cellhold.Command {
	t.Helper()
	c, err := s.RunCommand(t.Context(), id, r)
	if err != nil {
		t.Fatalf("%s %q: %v", r.Line, r.Args, err)
	}
	return c
}

// line runs a shell line, and returns its output. The line must exit with 0.
func (s *server) line(t testing.TB, id cellhold.SessionID, line string) string {
	t.Helper()
	c := s.command(t, id, client.Run{Line: line})
	if c.Status != cellhold.CommandOK {
		t.Fatalf("%s: %s %d %s: %s", line, c.Status, c.Code, c.Cause, c.Stderr.Text)
	}
	return c.Stdout.Text
}

// commandEvents reads the events of a command from its beginning. Each event must come once and in order.
func commandEvents(t testing.TB, c *client.Client, x cellhold.Command) (stdout, stderr []byte, done cellhold.CommandDoneContent) {
	t.Helper()
	last := int64(0)
	for ev, err := range c.WatchCommand(t.Context(), x.Session, x.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Seq <= last || ev.Command != x.ID {
			t.Fatalf("got event %d of %s after %d, want a later event of %s", ev.Seq, ev.Command, last, x.ID)
		}
		last = ev.Seq
		switch ev.Type {
		case cellhold.EventStream:
			var s cellhold.StreamContent
			if err := ev.Decode(&s); err != nil {
				t.Fatal(err)
			}
			b := append(s.Data, s.Text...)
			if s.Name == "stdout" {
				stdout = append(stdout, b...)
			} else {
				stderr = append(stderr, b...)
			}
		case cellhold.EventCommandDone:
			if err := ev.Decode(&done); err != nil {
				t.Fatal(err)
			}
		}
	}
	return stdout, stderr, done
}

// awaitOutput waits until a running command has written a text.
func awaitOutput(t testing.TB, c *client.Client, x cellhold.Command, text string) {
	t.Helper()
	got := ""
	for ev, err := range c.WatchCommand(t.Context(), x.Session, x.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		var s cellhold.StreamContent
		if ev.Type == cellhold.EventStream && ev.Decode(&s) == nil {
			got += s.Text + string(s.Data)
		}
		if strings.Contains(got, text) {
			return
		}
	}
	t.Fatalf("the command wrote %q, want %q in it", got, text)
}

func TestACommandHasSeparateStreamsAndAResult(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "open('/workspace/shared.txt', 'w').write('from the cell')")
	c := s.command(t, id, client.Run{Line: "for i in $(seq 100); do echo out $i; echo err $i >&2; done; cat shared.txt; exit 7"})
	var out, errOut strings.Builder
	for i := 1; i <= 100; i++ {
		fmt.Fprintf(&out, "out %d\n", i)
		fmt.Fprintf(&errOut, "err %d\n", i)
	}
	if c.Status != cellhold.CommandExit || c.Code != 7 || c.Stdout.Text != out.String()+"from the cell" || c.Stderr.Text != errOut.String() {
		t.Errorf("the command is %+v, want exit status 7 and separate streams", c)
	}
	stdout, stderr, done := commandEvents(t, s.Client, c)
	if string(stdout) != c.Stdout.Text || string(stderr) != c.Stderr.Text || done.Code != 7 {
		t.Errorf("the events have %q, %q, %+v; want those of the command, and code 7", stdout, stderr, done)
	}
	for _, tt := range []struct {
		r      client.Run
		status cellhold.CommandStatus
		code   int
		signal string
	}{
		{client.Run{Args: []string{"true"}}, cellhold.CommandOK, 0, ""},
		{client.Run{Args: []string{"sh", "-c", "exit 255"}}, cellhold.CommandExit, 255, ""},
		{client.Run{Line: "kill -9 $$"}, cellhold.CommandSignal, 137, "KILL"},
		{client.Run{Args: []string{"no-such-program"}}, cellhold.CommandExit, 127, ""},
		{client.Run{Args: []string{"/etc/passwd"}}, cellhold.CommandExit, 126, ""},
		{client.Run{Line: `mkdir -p "of course"`}, cellhold.CommandOK, 0, ""},
		{client.Run{Line: `test "$PWD" = "/workspace/of course"`, Dir: "of course"}, cellhold.CommandOK, 0, ""},
		{client.Run{Args: []string{"true"}, Dir: "/no/such/place"}, cellhold.CommandExit, 126, ""},
		{client.Run{Line: `test "$A" = 'b c' -a "$PWD" = /tmp`, Env: map[string]string{"A": "b c"}, Dir: "/tmp"}, cellhold.CommandOK, 0, ""},
		{client.Run{Line: "exec >&- 2>&- <&-; sleep 0.3; exit 5"}, cellhold.CommandExit, 5, ""},
		{client.Run{Line: "sleep 100 & echo $!"}, cellhold.CommandOK, 0, ""},
	} {
		begun := time.Now()
		c := s.command(t, id, tt.r)
		if c.Status != tt.status || c.Code != tt.code || c.Signal != tt.signal {
			t.Errorf("%q %q: %s %d %s (%s), want %s %d %s", tt.r.Line, tt.r.Args, c.Status, c.Code, c.Signal, c.Cause, tt.status, tt.code, tt.signal)
		}
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("%q took %s, want at most 20s", tt.r.Line, took)
		}
	}
	if got := s.line(t, id, "id -u; grep -h -e Cap -e NoNewPrivs /proc/self/status | awk '{print $2}' | sort -u"); got != "1000\n0000000000000000\n1\n" && got != "1000\n0000000000000000\n" {
		t.Errorf("user and privileges: %q, want %q", got, "1000\n0000000000000000\n")
	}
}

func TestInputOfACommandArrivesOnceDespiteBrokenConnections(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i * 7 / 3)
	}
	// The proxy passes each request on. Then it loses one answer in three.
	target, _ := url.Parse(s.url)
	proxy := httputil.NewSingleHostReverseProxy(target)
	var n atomic.Int64
	proxy.ModifyResponse = func(r *http.Response) error {
		if strings.HasSuffix(r.Request.URL.Path, "/stdin") && n.Add(1)%3 == 0 {
			return errors.New("lost")
		}
		return nil
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = target.Host
		proxy.ServeHTTP(w, r)
	}))
	defer between.Close()
	shaky, err := client.New(client.Options{URL: between.URL, Token: s.token})
	if err != nil {
		t.Fatal(err)
	}
	x, err := shaky.StartCommand(t.Context(), id, client.Run{Line: "sleep 0.5; cat"})
	if err != nil {
		t.Fatal(err)
	}
	if err := shaky.Feed(t.Context(), id, x.ID, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if stdout, _, done := commandEvents(t, s.Client, x); !bytes.Equal(stdout, data) || done.Status != cellhold.CommandOK {
		t.Errorf("got %d bytes back and %+v, want the %d sent bytes and status ok", len(stdout), done, len(data))
	}
	if n.Load() < 6 {
		t.Errorf("got %d requests, want at least 6", n.Load())
	}
}

func TestSignalsReachTheProcessGroupAndTimeoutsEndIt(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	x, err := s.StartCommand(t.Context(), id, client.Run{Line: "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done"})
	if err != nil {
		t.Fatal(err)
	}
	awaitOutput(t, s.Client, x, "ready")
	if err := s.SignalCommand(t.Context(), id, x.ID, "INT"); err != nil {
		t.Fatal(err)
	}
	if x, err = s.WaitCommand(t.Context(), id, x.ID); err != nil || x.Code != 3 || x.Stdout.Text != "ready\ncaught\n" {
		t.Errorf("got the command %+v, %v; want code 3 and the output of the trap", x, err)
	}
	c := s.command(t, id, client.Run{Line: "trap '' TERM; sleep 7001 & setsid sleep 7001 & sleep 7001", Timeout: time.Second})
	if c.Status != cellhold.CommandTimeout || c.Signal != "KILL" {
		t.Errorf("the command is %+v, want a timeout and the signal KILL", c)
	}
	if left := s.line(t, id, "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 700[1]' || true"); left != "0\n" {
		t.Errorf("got %s processes after the timeout of a command, want 0", left)
	}
	x, err = s.StartCommand(t.Context(), id, client.Run{Line: "sleep 7002 & echo ready; wait"})
	if err != nil {
		t.Fatal(err)
	}
	awaitOutput(t, s.Client, x, "ready")
	if err := s.EndCommand(t.Context(), id, x.ID); err != nil {
		t.Fatal(err)
	}
	if x, err = s.Command(t.Context(), id, x.ID); err != nil || x.Status != cellhold.CommandSignal {
		t.Errorf("got the command %+v, %v; want status signal", x, err)
	}
	// A kernel's restart does not end background processes of a command.
	s.line(t, id, "setsid sleep 7003 >/dev/null 2>&1 & :")
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if left := s.line(t, id, "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 700[23]' | sort -u"); left != "sleep 7003\n" {
		t.Errorf("processes after the restart: %q, want only sleep 7003", left)
	}
}

func TestATerminalHasASizeAndHandlesControlKeys(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	x, err := s.StartCommand(t.Context(), id, client.Run{Line: "stty size; read typed; echo got $typed; stty size; cat", Terminal: &cellhold.Terminal{Rows: 33, Cols: 101}})
	if err != nil {
		t.Fatal(err)
	}
	awaitOutput(t, s.Client, x, "33 101\r\n")
	if err := s.ResizeCommand(t.Context(), id, x.ID, cellhold.Terminal{Rows: 50, Cols: 132}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteCommand(t.Context(), id, x.ID, []byte("typed\r"), -1, false); err != nil {
		t.Fatal(err)
	}
	awaitOutput(t, s.Client, x, "typed\r\ngot typed\r\n50 132\r\n") // the terminal echoes the input
	if _, err := s.WriteCommand(t.Context(), id, x.ID, []byte{3}, -1, false); err != nil {
		t.Fatal(err)
	}
	stop, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if x, err = s.WaitCommand(stop, id, x.ID); err != nil || x.Signal != "INT" {
		t.Errorf("after Ctrl-C: got %+v, %v; want signal INT", x, err)
	}
}

func TestAWatchOfACommandGetsEachByteOnceDespiteDropsAndAKilledServer(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	first := serve(t, home)
	id := first.session(t, client.CreateSession{})
	x, err := first.StartCommand(t.Context(), id, client.Run{Line: "for i in $(seq 60); do echo line $i; sleep 0.05; done; cat"})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	after, drops := int64(0), 0
	for drops < 20 { // each reader reads one event and disconnects
		for ev, err := range first.WatchCommand(t.Context(), id, x.ID, after) {
			if err != nil {
				t.Fatal(err)
			}
			got.WriteString(streamText(ev))
			after = ev.Seq
			break
		}
		drops++
	}
	if _, err := first.WriteCommand(t.Context(), id, x.ID, []byte("input "), 0, false); err != nil {
		t.Fatal(err)
	}
	first.signal(t, syscall.SIGKILL)

	second := serve(t, home)
	if _, err := second.WriteCommand(t.Context(), id, x.ID, []byte("input twice"), 0, true); err != nil {
		t.Fatal(err)
	}
	for ev, err := range second.WatchCommand(t.Context(), id, x.ID, after) {
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(streamText(ev))
	}
	var want strings.Builder
	for i := range 60 {
		fmt.Fprintf(&want, "line %d\n", i+1)
	}
	want.WriteString("input twice")
	if got.String() != want.String() {
		t.Errorf("got the text %q, want %q", got.String(), want.String())
	}
	if x, err = second.WaitCommand(t.Context(), id, x.ID); err != nil || x.Status != cellhold.CommandOK || x.Stdout.Text != want.String() {
		t.Errorf("got the command %+v, %v; want status ok and the whole text", x, err)
	}
}

func streamText(ev cellhold.Event) string {
	var s cellhold.StreamContent
	if ev.Type != cellhold.EventStream || ev.Decode(&s) != nil {
		return ""
	}
	return s.Text + string(s.Data)
}

func TestExecPassesStreamsSignalsAndTheExitStatus(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := string(s.session(t, client.CreateSession{}))
	run := func(stdin string, args ...string) (stdout, stderr string, status int) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary(t), append([]string{"--home", s.home, "exec", "--url", s.url}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		err := cmd.Run()
		if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(err)
		}
		return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
	}
	for _, tt := range []struct {
		name, stdin    string
		args           []string
		stdout, stderr string
		status         int
	}{
		{"streams and status", "", []string{id, "--", "sh", "-c", "echo out; echo err >&2; exit 9"}, "out\n", "err\n", 9},
		{"without dashes", "", []string{id, "echo", "-n", "x"}, "x", "", 0},
		{"a line", "", []string{id, "echo a | tr a b"}, "b\n", "", 0},
		{"input", "a\xffb\x00", []string{id, "--", "od", "-An", "-tx1"}, " 61 ff 62 00\n", "", 0},
		{"bytes", "", []string{id, "--", "printf", `\377\376\000`}, "\xff\xfe\x00", "", 0},
		{"a signal", "", []string{id, "kill -TERM $$"}, "", "", 143},
		{"a deadline", "", []string{"--timeout=1s", id, "sleep 100"}, "", "cellhold: The command and its processes were ended at its deadline of 1s.\n", 124},
		{"a terminal", "", []string{"-t", id, "stty size"}, "24 80\r\n", "", 0},
		{"a terminal that its program closes", "", []string{"-t", id, "exec 0<&- 1>&- 2>&-; sleep 1; exit 7"}, "", "", 7},
		{"a variable", "", []string{"-e", "A=b=c", "-w", "/tmp", id, "echo $A $PWD"}, "b=c /tmp\n", "", 0},
	} {
		stdout, stderr, status := run(tt.stdin, tt.args...)
		if stdout != tt.stdout || stderr != tt.stderr || status != tt.status {
			t.Errorf("%s: stdout %q, stderr %q, status %d; want %q, %q, %d", tt.name, stdout, stderr, status, tt.stdout, tt.stderr, tt.status)
		}
	}
	if _, stderr, status := run("", "snone", "true"); status != 125 || !strings.Contains(stderr, "Session \"snone\" not found") {
		t.Errorf("an unknown session: got exit status %d and %s, want 125 and \"not found\"", status, stderr)
	}
	started, _, _ := run("", "-d", id, "echo once; sleep 0.3; exit 4")
	if stdout, _, status := run("", "--attach", strings.TrimSpace(started), id); stdout != "once\n" || status != 4 {
		t.Errorf("--attach: got %q and exit status %d, want once and 4", stdout, status)
	}

	cmd := exec.CommandContext(t.Context(), binary(t), "--home", s.home, "exec", "--url", s.url, id, "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, ready); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	rest, _ := io.ReadAll(out)
	_ = cmd.Wait()
	if string(rest) != "caught\n" || cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("Ctrl-C: got %q and exit status %d, want caught and 5", rest, cmd.ProcessState.ExitCode())
	}
}

func TestALargeOutputOfACommandUsesAtMost64MiBOfServerMemory(t *testing.T) {
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	before := resident(t, s)
	const flood = 30_000_000
	c := s.command(t, id, client.Run{Line: fmt.Sprintf("head -c %d /dev/zero; echo end >&2", flood), Timeout: 2 * time.Minute})
	if c.Status != cellhold.CommandOK || c.Stdout.Bytes != flood || c.Dropped != 0 || c.Stderr.Bytes != 4 {
		t.Errorf("the command ended with %s (%s), %d bytes, %d dropped, %d of stderr; want ok, %d, 0, 4", c.Status, c.Cause, c.Stdout.Bytes, c.Dropped, c.Stderr.Bytes, flood)
	}
	if grown := resident(t, s) - before; grown > 64<<20 {
		t.Errorf("the server's memory grew by %d MiB, want at most 64", grown>>20)
	}
}

func TestHostileCommandsEndAndTheSessionContinues(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, line := range []string{
		"yes & yes >&2 & exit 0",                    // background processes that continue to write
		"(setsid sh -c 'sleep 600' &) ; exit 0",     // a daemon
		"exec 0<&- 1<&- 2<&-; kill -STOP $$",        // no streams, and stopped
		"trap '' TERM INT HUP; while :; do :; done", // a command that ignores signals
	} {
		c := s.command(t, id, client.Run{Line: line, Timeout: 2 * time.Second})
		if c.State != cellhold.CommandDone {
			t.Errorf("%s: got %+v, want state done", line, c)
		}
	}
	if _, err := s.StartCommand(t.Context(), id, client.Run{Line: strings.Repeat("x", 1<<20)}); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("a line of 1 MiB: got %v, want kind invalid", err)
	}
	big := strings.Repeat("a", 100_000)
	if c := s.command(t, id, client.Run{Args: []string{"sh", "-c", "echo ${#1} ${#V}", "x", big}, Env: map[string]string{"V": big}}); c.Stdout.Text != "100000 100000\n" {
		t.Errorf("long arguments: got %+v, want the output 100000 100000", c)
	}
	for range 100 {
		if c, err := s.StartCommand(t.Context(), id, client.Run{Args: []string{"true"}}); err != nil {
			t.Fatal(err)
		} else if c, err = s.WaitCommand(t.Context(), id, c.ID); err != nil || c.Status != cellhold.CommandOK {
			t.Fatalf("got the command %+v, %v; want status ok", c, err)
		}
	}
	if zombies := s.line(t, id, "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"); zombies != "0\n" {
		t.Errorf("got %s zombies, want 0", zombies)
	}
	if got := s.must(t, id, "1 + 1"); got != "2" {
		t.Errorf("after the commands the kernel prints %q, want 2", got)
	}
	// The end of the session ends all processes that commands left. The cleanup of the home fails if the
	// sandbox still uses it.
	if err := s.DeleteSession(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// resident returns the resident memory of the server, in bytes.
func resident(t testing.TB, s *server) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatal("/proc has no VmRSS of the server")
	return 0
}
