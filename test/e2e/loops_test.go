package e2e

import (
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// waits has cells that run an event loop for a long time. They need the names of long.
var waits = []string{
	"asyncio.run(long())",
	"loop.run_until_complete(long())",
	"asyncio.get_event_loop().run_until_complete(asyncio.gather(long(), asyncio.sleep(60)))",
	"with asyncio.Runner() as r: r.run(long())",
	"async def outer(): asyncio.run(long())\nawait outer()",
	"async def outer(): loop.run_until_complete(long())\nawait outer()",
	"loop.run_forever()",
}

// long is code with a coroutine that waits for a minute.
const long = "import asyncio, time\nkept = 1\nloop = asyncio.get_event_loop()\nasync def long():\n    print('begun')\n    await asyncio.sleep(60)\n    print('never')"

func TestAnInterruptEndsALoopThatACellRunsAndKeepsTheVariables(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, long)
	for _, code := range waits {
		c, err := s.Submit(t.Context(), id, client.Code{Code: "print('here')\n" + code, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		s.awaitText(t, c)
		began := time.Now()
		if err := s.Interrupt(t.Context(), id, ""); err != nil {
			t.Fatal(err)
		}
		if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusInterrupted || strings.Contains(text(c), "never") {
			t.Errorf("%s\nended with %s after %s, %v; want interrupted: %s", code, c.Status, time.Since(began), err, text(c))
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s\nended %s after the interrupt, want at most 20s", code, took)
		}
		if got := s.must(t, id, "print(kept, loop.run_until_complete(asyncio.sleep(0, 2)), asyncio.run(asyncio.sleep(0, 3)), await asyncio.sleep(0, 4))"); got != "1 2 3 4\n" {
			t.Errorf("after %s the next cell writes %q, want %q", code, got, "1 2 3 4\n")
		}
	}
}

func TestADeadlineEndsALoopThatACellRunsAndKeepsTheVariables(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	for _, code := range waits[:2] {
		id := s.session(t, client.CreateSession{})
		s.must(t, id, long)
		if c := s.run(t, id, code, 2*time.Second); c.Status != cellhold.StatusTimeout {
			t.Errorf("%s\nended with %s, want timeout", code, c.Status)
		}
		if got := s.must(t, id, "print(kept)"); got != "1\n" {
			t.Errorf("after %s the variable is %q, want %q", code, got, "1\n")
		}
	}
}
