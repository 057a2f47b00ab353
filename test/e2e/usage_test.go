package e2e

import (
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// The usage is the wall time, the CPU time of the kernel and its child processes, and the peak memory.
func TestACellReportsItsUsage(t *testing.T) {
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	const spin = "import time\nend = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass"
	for _, x := range []struct {
		name, code         string
		wall, cpu, cpuMost float64
		memory, memoryMost int64
	}{
		{"a short cell", "1", 0, 0, 0.1, 30 << 20, 300 << 20},
		{"sleep", "import time; time.sleep(0.6)", 0.6, 0, 0.3, 30 << 20, 300 << 20},
		{"computing", spin, 0.6, 0.1, 1.2, 30 << 20, 300 << 20},
		{"a child computing", "import subprocess, sys; subprocess.run([sys.executable, '-c', '''" + spin + "'''])", 0.6, 0.1, 2.5, 30 << 20, 300 << 20},
		{"400 MiB for a moment", "b = bytearray(b'x') * (400 << 20); del b\nimport time; time.sleep(0.1)", 0.1, 0, 3, 400 << 20, 700 << 20},
		{"after it", "import time; time.sleep(0.2)", 0.2, 0, 0.2, 30 << 20, 300 << 20},
	} {
		c := s.run(t, id, x.code)
		// On a busy machine, gVisor can give freed memory back late. Until then the memory counts for the next
		// cell too.
		for patience := time.Now().Add(time.Minute); c.Usage != nil && c.Usage.PeakMemory > x.memoryMost && time.Now().Before(patience); {
			c = s.run(t, id, x.code)
		}
		u := c.Usage
		if c.Status != cellhold.StatusOK || u == nil || u.CPU == nil {
			t.Fatalf("%s: the cell ended with %s and the usage %+v, want ok and a CPU time: %s", x.name, c.Status, u, text(c))
		}
		t.Logf("%s: wall %.3f s, cpu %.3f s, peak %d MiB", x.name, u.Wall, *u.CPU, u.PeakMemory>>20)
		if u.Wall < x.wall || u.Wall > x.wall+20 || *u.CPU < x.cpu || *u.CPU > x.cpuMost {
			t.Errorf("%s: got wall %.3f s and CPU %.3f s, want %.3f to %.3f s and %.3f to %.3f s", x.name, u.Wall, *u.CPU, x.wall, x.wall+20, x.cpu, x.cpuMost)
		}
		if u.PeakMemory != 0 && (u.PeakMemory < x.memory || u.PeakMemory > x.memoryMost) {
			t.Errorf("%s: got a peak of %d MiB, want %d to %d", x.name, u.PeakMemory>>20, x.memory>>20, x.memoryMost>>20)
		}
	}
	dead := s.run(t, id, "import os; os._exit(3)")
	if dead.Usage == nil || dead.Usage.Wall <= 0 {
		t.Errorf("a cell whose kernel died used %+v, want a wall time", dead.Usage)
	}
}

func TestASessionThatComputesInTheBackgroundIsNotIdle(t *testing.T) {
	s := serve(t, newHome(t), "--idle-timeout", "6s")
	works := s.session(t, client.CreateSession{})
	s.must(t, works, "import threading\nrun = True\ndef work():\n    while run: pass\nthreading.Thread(target=work, daemon=True).start()")
	child := s.session(t, client.CreateSession{})
	s.must(t, child, "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'while True: pass'])")
	idle := s.session(t, client.CreateSession{}) // if the others are idle, they expire before this one
	for _, err := range s.Watch(t.Context(), idle, 0) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []cellhold.SessionID{works, child} {
		x, err := s.Session(t.Context(), id)
		if err != nil || x.State != cellhold.SessionReady {
			t.Errorf("the busy session is %s (%v), want ready", x.State, err)
		}
	}
	s.must(t, works, "run = False")
	s.must(t, child, "p.kill(); p.wait()")
	for _, id := range []cellhold.SessionID{works, child} {
		for ev, err := range s.Watch(t.Context(), id, 0) {
			if err != nil {
				t.Fatal(err)
			}
			var c cellhold.SessionEndedContent
			if ev.Type == cellhold.EventSessionEnded && (ev.Decode(&c) != nil || c.Reason != cellhold.EndExpired) {
				t.Errorf("the session ended with %s, want expired", c.Reason)
			}
		}
	}
}
