package e2e

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// These tests run code that controls its kernel completely. The key that signs a kernel's messages is in the
// kernel's own process, so no protection depends on that key. The guarantees are:
//   - Each cell ends once, and before its time limit.
//   - Other sessions continue unchanged.
//   - The session can be used again.

// checkEnds checks that a session has want cells, and that each cell ended exactly once.
func (s *server) checkEnds(t *testing.T, id cellhold.SessionID, want int) {
	t.Helper()
	cells, err := s.Cells(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(cells) != want {
		t.Errorf("got %d cells, want %d", len(cells), want)
	}
	var last int64
	for _, c := range cells {
		last = max(last, c.Last)
	}
	ended := map[cellhold.CellID]int{}
	for e, err := range s.Watch(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == cellhold.EventCellDone {
			ended[e.Cell]++
		}
		if e.Seq >= last {
			break
		}
	}
	for _, c := range cells {
		if ended[c.ID] != 1 || c.State != cellhold.CellDone {
			t.Errorf("cell %s ended %d times and is %s, want once and done:\n%s", c.ID, ended[c.ID], c.State, c.Code)
		}
	}
	if len(ended) != len(cells) {
		t.Errorf("got the event cell_done for %d cells, want %d", len(ended), len(cells))
	}
}

// forger is code with a function that sends messages as the kernel.
const forger = `
import time
k = get_ipython().kernel
pub, ses = k.iopub_socket, k.session
mine = dict(k.get_parent("shell"))
stale = globals().get("stale", mine)
foreign = dict(mine, header=dict(mine["header"], msg_id="ffffffff-0000_1_1"))
def send(kind, content, parent): ses.send(pub, kind, content, parent=parent, ident=kind.encode())
`

func TestForgedMessagesReachOnlyTheirOwnCell(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id, other := s.session(t, client.CreateSession{}), s.session(t, client.CreateSession{})
	s.must(t, id, forger+"stale = mine; secret = 41")
	waiting, err := s.Submit(t.Context(), other, client.Code{Code: "import time; time.sleep(8); print('mine alone')"})
	if err != nil {
		t.Fatal(err)
	}
	cells := 1
	for _, attack := range []struct{ name, code, lacks string }{
		{"idle for its own cell", `send("status", {"execution_state": "idle"}, mine); time.sleep(.3); print("after")`, ""},
		{"idle for an earlier cell", `send("status", {"execution_state": "idle"}, stale); send("stream", {"name": "stdout", "text": "FORGED"}, stale); print("own")`, "FORGED"},
		{"output for a cell that does not exist", `send("stream", {"name": "stdout", "text": "FORGED"}, foreign); send("error", {"ename": "FORGED", "evalue": "", "traceback": []}, foreign); print("own")`, "FORGED"},
		{"an error of its own", `send("error", {"ename": "Own", "evalue": "", "traceback": ["x"]}, mine); print("own")`, ""},
		{"a reply on the wrong channel", `send("execute_reply", {"status": "ok", "execution_count": -5}, mine); print("own")`, ""},
		{"death and restart", `send("status", {"execution_state": "dead"}, mine); send("status", {"execution_state": "restarting"}, mine); send("shutdown_reply", {"restart": False}, mine); print("own")`, ""},
		{"types of the server's events", `[send(k, {"status": "ok"}, mine) for k in ("cell_done", "cell_queued", "session_state", "kernel_state", "output_dropped")]; print("own")`, ""},
		{"no parent", `send("stream", {"name": "stdout", "text": "FORGED"}, {}); send("status", {"execution_state": "idle"}, {}); print("own")`, "FORGED"},
	} {
		c := s.run(t, id, forger+attack.code, 20*time.Second)
		cells++
		if c.State != cellhold.CellDone || c.Status != cellhold.StatusOK && c.Status != cellhold.StatusError {
			t.Errorf("%s: the cell ended with %s (%s), want ok or error", attack.name, c.Status, c.Cause)
		}
		if attack.lacks != "" && strings.Contains(text(c), attack.lacks) {
			t.Errorf("%s: got the output %q, want no %s", attack.name, text(c), attack.lacks)
		}
	}
	if got := s.must(t, id, "secret + 1"); got != "42" {
		t.Errorf("after the attacks the kernel prints %q, want 42", got)
	}
	s.checkEnds(t, id, cells+1)
	if c, err := s.Wait(t.Context(), other, waiting.ID); err != nil || text(c) != "mine alone\n" {
		t.Errorf("the other session prints %q, %v; want mine alone", text(c), err)
	}
	s.checkEnds(t, other, 1)
}

func TestMalformedFramesAndRoguePeersCanEndOnlyTheirOwnKernel(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	other := s.session(t, client.CreateSession{})
	s.must(t, other, "x = 1")
	id := s.session(t, client.CreateSession{})
	for name, code := range map[string]string{
		"no delimiter":   `pub.send_multipart([b"x", b"y"])`,
		"empty frames":   `pub.send_multipart([b""] * 6)`,
		"many frames":    `pub.send_multipart([b"status"] + [b"<IDS|MSG>"] * 2000)`,
		"no JSON":        `pub.send_multipart([b"s", b"<IDS|MSG>", b"", b"\xff\xfe", b"{", b"[]", b"nan"])`,
		"deep nesting":   `d = b"[" * 100000; pub.send_multipart([b"s", b"<IDS|MSG>", ses.sign([d, d, d, d]), d, d, d, d])`,
		"strange values": `parts = [b'{"msg_id": 5, "msg_type": {}}', b'[]', b'null', b'{"data": NaN, "data": 1e999}']; pub.send_multipart([b"s", b"<IDS|MSG>", ses.sign(parts)] + parts)`,
		"a large frame":  `pub.send_multipart([b"s", b"<IDS|MSG>", b"", b"x" * (64 << 20), b"{}", b"{}", b"{}"])`,
		"replays":        `m = ses.serialize(ses.msg("stream", {"name": "stdout", "text": ""}, parent=mine)); [pub.send_multipart([b"s"] + m) for _ in range(500)]`,
		"a rogue client": `
import zmq, json
from ipykernel.connect import get_connection_info
info = json.loads(get_connection_info())
c = zmq.Context().socket(zmq.DEALER); c.linger = 0
c.connect(f"{info['transport']}://{info['ip']}-{info['shell_port']}")
for n in range(5): ses.send(c, "execute_request", dict(code="rogue = 1", silent=False, store_history=False, user_expressions={}, allow_stdin=False, stop_on_error=True))
c.send_multipart([b"garbage"]); c.send_multipart([b"", b"\x00" * 1000])
time.sleep(.2); c.close()`,
		"a rogue peer that speaks no ZeroMQ": `
import socket, json
from ipykernel.connect import get_connection_info
info = json.loads(get_connection_info())
for n in ("shell_port", "iopub_port", "control_port", "hb_port", "stdin_port"):
    u = socket.socket(socket.AF_UNIX); u.connect(f"{info['ip']}-{info[n]}"); u.send(b"\xff" * 300); u.close()`,
	} {
		c := s.run(t, id, forger+code+"\nprint('still here')", 20*time.Second)
		if c.State != cellhold.CellDone {
			t.Errorf("%s: the cell is %s, want done", name, c.State)
		}
		// The attack can end a kernel, but never the session.
		if c.Status.Died() || c.Status == cellhold.StatusTimeout {
			t.Logf("%s: %s (%s)", name, c.Status, c.Cause)
			if _, err := s.Restart(t.Context(), id, ""); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if got := s.must(t, id, "6 * 7"); got != "42" {
			t.Errorf("%s: afterwards the kernel prints %q, want 42", name, got)
		}
	}
	s.checkEnds(t, id, 20)
	if got := s.must(t, other, "x"); got != "1" {
		t.Errorf("the other session prints %q, want 1", got)
	}
}

// stuckTime is the longest time until a cell with a timeout of one second ends on a slow host. The server interrupts
// the cell, then restarts the kernel, then ends the sandbox. stuckTime includes the waits between these steps.
const stuckTime = 60 * time.Second

func TestACellOfAStuckKernelEndsWithinSixtySecondsAndTheSessionContinues(t *testing.T) {
	s := serve(t, newHome(t))
	stuck := map[string]string{
		"stopped":           "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
		"swallows":          "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
		"blocks signals":    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
		"traces forever":    "import sys\ndef f(*a):\n    while True:\n        try: pass\n        except BaseException: pass\nsys.settrace(f); (lambda: 0)()",
		"holds the GIL":     "sum(iter(int, 1))",
		"backtracks":        "import re; re.match(r'(a|aa)+$', 'a' * 60 + 'b')",
		"hangs at its exit": "import atexit, ctypes\n@atexit.register\ndef f():\n    while True: pass\nctypes.PyDLL(None).Py_Exit(3)",
	}
	ids := s.sessions(t, len(stuck)+1)
	other := ids[len(stuck)]
	s.must(t, other, "x = 1")
	var all sync.WaitGroup
	for i, name := range slices.Sorted(maps.Keys(stuck)) {
		id, code := ids[i], stuck[name]
		all.Go(func() {
			begun := time.Now()
			c, err := s.Execute(t.Context(), id, client.Code{Code: code, Timeout: time.Second})
			took := time.Since(begun)
			if err != nil || c.State != cellhold.CellDone || took > stuckTime {
				t.Errorf("%s: the cell is %s after %s (%v), want done within %s", name, c.State, took, err, stuckTime)
				return
			}
			if c.Status == cellhold.StatusOK || c.Status == cellhold.StatusCancelled {
				t.Errorf("%s: ended with %s, want neither ok nor cancelled", name, c.Status)
			}
			t.Logf("%s: %s (%s) after %s", name, c.Status, c.Cause, took.Round(100*time.Millisecond))
			again, err := s.Execute(t.Context(), id, client.Code{Code: "6 * 7"})
			if cellhold.KindOf(err) == cellhold.Conflict || err == nil && again.Status != cellhold.StatusOK { // the kernel is dead and needs a restart
				if _, err = s.Restart(t.Context(), id, ""); err == nil {
					again, err = s.Execute(t.Context(), id, client.Code{Code: "6 * 7"})
				}
			}
			if err != nil || text(again) != "42" {
				t.Errorf("%s: the next cell ended with %s and %q, %v; want 42", name, again.Status, text(again), err)
			}
		})
	}
	all.Wait()
	if got := s.must(t, other, "x"); got != "1" {
		t.Errorf("the other session prints %q, want 1", got)
	}
}

func TestAKernelThatEndsItselfReportsTheCause(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	ways := []struct {
		name, code string
		want       cellhold.CellStatus
	}{
		{"exit", "import os; os._exit(3)", cellhold.StatusExit},
		{"kill", "import os; os.kill(os.getpid(), 9)", cellhold.StatusSignal},
		{"segmentation fault", "import ctypes; ctypes.string_at(0)", cellhold.StatusSignal},
		{"abort", "import os; os.abort()", cellhold.StatusSignal},
		{"every process that it can kill, then its own", "import os\ntry: os.kill(-1, 9)\nexcept OSError: pass\nos.kill(0, 9)", cellhold.StatusSignal},
	}
	for _, way := range ways {
		c := s.run(t, id, way.code, 20*time.Second)
		if c.Status != way.want || c.Cause == "" {
			t.Errorf("%s: the cell ended with %s (%s), want %s and a cause", way.name, c.Status, c.Cause, way.want)
		}
		if _, err := s.Restart(t.Context(), id, ""); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
	}
	if got := s.must(t, id, "6 * 7"); got != "42" {
		t.Errorf("after the restarts the kernel prints %q, want 42", got)
	}
	s.checkEnds(t, id, len(ways)+1)
}

func TestDaemonsAndZombiesEndWithTheRestartOfTheirKernel(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	const processes = `
import json, os
res = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try: res[pid] = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] + " " + open(f"/proc/{pid}/cmdline").read().replace("\0", " ")
    except OSError: pass
print(json.dumps(res))`
	before := python[map[string]string](t, s, id, processes)
	s.must(t, id, `
import os, warnings
warnings.simplefilter("ignore")
for n in range(150): # zombies, and orphans
    if os.fork() == 0:
        if n % 3 == 0 and os.fork() == 0: os._exit(0)
        os._exit(0)
for n in range(5): # daemons: in another process session, without environment
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: os.execve("/bin/sleep", ["sleep", "1000"], {})
        os._exit(0)
while len([p for p in os.listdir("/proc") if p.isdigit() and "sleep" in open(f"/proc/{p}/cmdline").read()]) < 5: pass`)
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	after := python[map[string]string](t, s, id, processes)
	if len(after) > len(before) {
		t.Errorf("got the processes %v after the restart, want at most %v", after, before)
	}
	for pid, what := range after {
		if strings.Contains(what, "sleep") || strings.HasPrefix(what, "Z") {
			t.Errorf("process %s after the restart is %s, want no daemon and no zombie", pid, what)
		}
	}
	if err := s.DeleteSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Sessions(t.Context()); err != nil || slices.ContainsFunc(list, func(x cellhold.Session) bool { return x.ID == id }) {
		t.Errorf("got the sessions %v (%v), want the deleted session not in the list", list, err)
	}
}
