package e2e

import (
	"testing"

	"cellhold"
	"cellhold/client"
)

// fullPipes fills 1,000 pipes: 64 MB in the memory of gVisor's kernel. A save of them would need a gigabyte.
const fullPipes = `
import os
pipes = [os.pipe() for _ in range(1000)]
for _, end in pipes:
    os.set_blocking(end, False)
    try:
        while True:
            os.write(end, b'\xff' * 65536)
    except BlockingIOError:
        pass
len(pipes)`

// TestASaveThatNeedsTooMuchMemoryIsRefused: it would end the session. The session continues, and can be saved later.
func TestASaveThatNeedsTooMuchMemoryIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, fullPipes)
	_, hibernating := s.Hibernate(t.Context(), id)
	_, saving := s.Checkpoint(t.Context(), id, "full")
	_, forking := s.Fork(t.Context(), id, 1, "")
	for what, err := range map[string]error{"hibernate": hibernating, "checkpoint": saving, "fork": forking} {
		if cellhold.KindOf(err) != cellhold.Exhausted {
			t.Errorf("%s: got %v, want kind exhausted", what, err)
		}
	}
	t.Log(hibernating)
	if got := s.must(t, id, "[(os.close(a), os.close(b)) for a, b in pipes]; len(pipes)"); got != "1000" {
		t.Errorf("the session has %s pipes, want 1000", got)
	}
	s.hibernate(t, id)
	if got := s.must(t, id, "len(pipes)"); got != "1000" {
		t.Errorf("the resumed session has %s pipes, want 1000", got)
	}
}
