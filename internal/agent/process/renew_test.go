package process_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
)

// identity is code that prints the values that must differ in every copy of a kernel, one per line. First it sets
// the generators to the state of the snapshot.
const identity = `
import random, uuid, tempfile, multiprocessing
kernel = get_ipython().kernel
for value in (random.random(), uuid.getnode(), next(tempfile._get_candidate_names()),
              bytes(multiprocessing.current_process().authkey).hex(), kernel.ident,
              kernel.session.session, kernel.session.key.decode()):
    print(value)
`

const snapshot = `
import random, uuid, tempfile, multiprocessing
random.seed(1); uuid._node = 1
tempfile._name_sequence = tempfile._RandomNameSequence()
tempfile._name_sequence._rng = random.Random(1); tempfile._name_sequence._rng_pid = __import__("os").getpid()
multiprocessing.current_process().authkey = b"1"
`

func (r *rig) renew() {
	r.Helper()
	if _, err := r.client.Renew(r.ctx, guestapi.Renew{Timeout: patience}); err != nil {
		r.Fatal(err)
	}
	r.last = 0
	r.untilState(cellhold.KernelIdle)
}

func (r *rig) lines(code string) []string {
	r.Helper()
	done, out := r.finish(r.submit(code, patience))
	if done.Status != cellhold.StatusOK {
		r.Fatalf("%s %q", done.Status, out)
	}
	return strings.Split(strings.TrimSpace(out), "\n")
}

func TestARenewedIPykernelHasANewIdentityAndItsOldVariables(t *testing.T) {
	r := newRig(t)
	r.want("x = 41", cellhold.StatusOK, "")
	var seen [][]string
	for range 2 {
		r.lines(snapshot)
		before := r.lines("print(get_ipython().kernel.session.key.decode())")[0]
		r.renew()
		is := r.lines(identity)
		for i, v := range is {
			for _, other := range seen {
				if other[i] == v {
					t.Errorf("value %d is %s in both copies", i, v)
				}
			}
			if v == before {
				t.Errorf("the key did not change")
			}
		}
		seen = append(seen, is)
		r.want("x + 1", cellhold.StatusOK, "42")
		r.want("In[-1] == 'In[-1] == ' + In[-1][10:], [k for k in globals() if 'renew' in k]", cellhold.StatusOK, "(True, [])")
	}
	r.wantConnectionFile(seen[1][len(seen[1])-1])
}

// wantConnectionFile checks that other clients find the key in the connection file.
func (r *rig) wantConnectionFile(key string) {
	r.Helper()
	files, err := filepath.Glob(filepath.Join(r.run, "k", "*", "kernel.json*"))
	if err != nil || len(files) != 1 {
		r.Fatalf("connection files %v %v, want one", files, err)
	}
	st, err := os.Stat(files[0])
	if err != nil || st.Mode().Perm() != 0o600 {
		r.Errorf("%v %v, want mode 0600", st, err)
	}
	text, err := os.ReadFile(files[0])
	var c struct{ Key, IP string }
	if err != nil || json.Unmarshal(text, &c) != nil || c.Key != key || c.IP == "" {
		r.Errorf("the connection file is %s %v, want key %s", text, err, key)
	}
}

func TestOutputOfThreadsSurvivesTheChangeOfTheKey(t *testing.T) {
	r := newRig(t)
	r.lines("import threading, time\nstop = threading.Event()\nsaid = 0\n" +
		"def talk():\n    global said\n    while not stop.wait(0.001):\n        display(said); said += 1\n" +
		"thread = threading.Thread(target=talk); thread.start(); print('on')")
	for range 20 {
		r.renew()
		if _, out := r.finish(r.submit("'here'", patience)); !strings.Contains(out, "'here'") {
			t.Errorf("a cell printed %q", out)
		}
	}
	if _, out := r.finish(r.submit("stop.set(); thread.join(); said > 20", patience)); !strings.Contains(out, "True") {
		t.Errorf("the thread printed too little: %q", out)
	}
	if n := r.unsigned.Load(); n != 0 {
		t.Errorf("%d messages were dropped because of their signature", n)
	}
}

// signatures counts the log's records of messages with a wrong signature.
type signatures struct {
	slog.Handler
	count *atomic.Int64
}

func (s signatures) Enabled(context.Context, slog.Level) bool { return true }

func (s signatures) WithAttrs([]slog.Attr) slog.Handler { return s }

func (s signatures) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(a.Value.String(), "signature") {
			s.count.Add(1)
		}
		return true
	})
	return nil
}

func TestFiguresOfAPreparationReachNoCell(t *testing.T) {
	r := newRig(t)
	p, err := r.kernel.Prepare(r.ctx, guestapi.Prepare{Timeout: patience, Code: "from IPython.display import display, HTML\n" +
		"display(HTML('<b>figure</b>')); print('text'); y = 2\n" +
		"get_ipython().events.register('post_execute', lambda: display('after') if y == 2 else None)"})
	if err != nil || p.Error != "" {
		t.Fatal(p, err)
	}
	r.want("y = 3; y", cellhold.StatusOK, "3")
	r.want("len(In)", cellhold.StatusOK, "3")
	info, err := r.client.Info(r.ctx)
	if err != nil || info.Kernels[0].Strange != 0 {
		t.Errorf("%+v %v, want no strange messages", info, err)
	}
}

func TestAPreparationOfIPykernelIsStopped(t *testing.T) {
	r := newRig(t)
	p, err := r.kernel.Prepare(r.ctx, guestapi.Prepare{Timeout: patience / 100, Code: "z = 1\nwhile True: pass"})
	if err != nil || !strings.Contains(p.Error, "deadline") {
		t.Errorf("%+v %v, want an error about the deadline", p, err)
	}
	r.want("z", cellhold.StatusOK, "1")
}

func TestUserCodeThatPreventsTheRenewalIsReported(t *testing.T) {
	r := newRig(t)
	r.lines("import sys\nclass Bad:\n    def renew(*a): raise OSError('mine')\nsys.modules['cellhold_renew'] = Bad\nprint()")
	_, err := r.client.Renew(r.ctx, guestapi.Renew{Timeout: patience})
	if cellhold.KindOf(err) != cellhold.Unavailable || !strings.Contains(err.Error(), "OSError: mine") {
		t.Errorf("%v, want unavailable with the exception", err)
	}
	r.want("1 + 1", cellhold.StatusOK, "2")
	r.lines("Bad.renew = lambda *a: None\nprint()")
	if _, err := r.client.Renew(r.ctx, guestapi.Renew{Timeout: patience}); !strings.Contains(err.Error(), "kept its old key") {
		t.Errorf("%v, want an error about the key", err)
	}
	r.want("1 + 1", cellhold.StatusOK, "2")
}
