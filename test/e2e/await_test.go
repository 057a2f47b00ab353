package e2e

import (
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// soon is the longest time from an interrupt to the end of its cell, on a busy machine. Without an interrupt, the
// cells wait for a minute.
const soon = 15 * time.Second

// interruptRunning runs a cell, interrupts it after its start, and checks that the cell ends within the time soon.
func (s *server) interruptRunning(t *testing.T, id cellhold.SessionID, code string) {
	t.Helper()
	c := s.submit(t, id, client.Code{Code: "print('begun', flush=True)\n" + code})
	s.awaitText(t, c)
	begun := time.Now()
	if err := s.Interrupt(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	c = s.done(t, c)
	if took := time.Since(begun); took > soon {
		t.Errorf("the cell ended %s after the interrupt, want at most %s", took, soon)
	}
	if c.Status != cellhold.StatusInterrupted {
		t.Errorf("the cell ended with %s (%s) and %s, want interrupted", c.Status, c.Cause, text(c))
	}
	if last := c.Outputs[len(c.Outputs)-1]; last.ErrorName != "KeyboardInterrupt" {
		t.Errorf("the last output is %+v, want KeyboardInterrupt", last)
	}
}

func TestAnInterruptEndsACellThatAwaits(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `x = 42
import asyncio, contextlib, time
async def busy():
    while True: pass
async def numbers():
    while True:
        yield 1
        await asyncio.sleep(60)
@contextlib.asynccontextmanager
async def slow():
    await asyncio.sleep(60)
    yield
async def inner(): await asyncio.sleep(60)
`)
	for name, code := range map[string]string{
		"sleep":          "await asyncio.sleep(60)",
		"loop":           "for i in range(9):\n    while True:\n        await asyncio.sleep(60)",
		"async for":      "async for i in numbers(): pass",
		"async with":     "async with slow(): pass",
		"gather":         "await asyncio.gather(inner(), asyncio.sleep(50), inner())",
		"task group":     "async with asyncio.TaskGroup() as g:\n    g.create_task(inner())",
		"task":           "await asyncio.create_task(inner())",
		"shield":         "await asyncio.shield(inner())",
		"wait_for":       "await asyncio.wait_for(inner(), 50)",
		"timeout":        "async with asyncio.timeout(50): await inner()",
		"wait":           "await asyncio.wait([asyncio.create_task(inner())])",
		"queue":          "await asyncio.Queue().get()",
		"thread":         "await asyncio.to_thread(time.sleep, 60)",
		"executor":       "await asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)",
		"process":        "p = await asyncio.create_subprocess_shell('sleep 60'); await p.wait()",
		"busy after":     "await asyncio.sleep(0)\nwhile True: pass",
		"blocking after": "await asyncio.sleep(0)\ntime.sleep(60)",
		"busy task":      "await asyncio.gather(busy(), inner())",
		"busy callback":  "def spin():\n    while True: pass\nasyncio.get_running_loop().call_soon(spin); await inner()",
		"command":        "await asyncio.sleep(0)\n!sleep 60",
		"no wait":        "while True: await asyncio.sleep(0)",
		"cleaning up":    "try: await inner()\nexcept asyncio.CancelledError: raise",
	} {
		t.Run(name, func(t *testing.T) {
			s.interruptRunning(t, id, code)
			if got := s.must(t, id, "x"); got != "42" {
				t.Errorf("x is %q, want 42", got)
			}
		})
	}
}

// Each of these cells catches its cancellation, once or always, and continues to wait. The kernel must then interrupt
// the cell itself.
func TestOneInterruptRequestEndsACellThatCatchesItsCancellation(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `x = 42
import asyncio
async def once():
    try: await asyncio.sleep(60)
    except asyncio.CancelledError: await asyncio.sleep(60)
async def never():
    while True:
        try: await asyncio.sleep(60)
        except asyncio.CancelledError: pass
`)
	for name, code := range map[string]string{
		"once":          "await once()",
		"once, a task":  "await asyncio.create_task(once())",
		"never":         "await never()",
		"never, a task": "await asyncio.create_task(never())",
		"never, some":   "await asyncio.gather(never(), never())",
	} {
		t.Run(name, func(t *testing.T) {
			s.interruptRunning(t, id, code)
			if got := s.must(t, id, "x"); got != "42" {
				t.Errorf("x is %q, want 42", got)
			}
		})
	}
}

func TestACellThatAwaitsEndsAtItsDeadlineAndKeepsTheVariables(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import asyncio; x = 42")
	for _, code := range []string{
		"await asyncio.sleep(60)",
		"try: await asyncio.sleep(60)\nexcept asyncio.CancelledError: await asyncio.sleep(60)",
	} {
		c := s.run(t, id, code, time.Second)
		if c.Status != cellhold.StatusTimeout || !strings.Contains(c.Cause, "the variables are kept") {
			t.Errorf("%s: ended with %s (%s), want timeout and \"the variables are kept\"", code, c.Status, c.Cause)
		}
		if !strings.Contains(text(c), "KeyboardInterrupt") {
			t.Errorf("%s: the output is %q, want KeyboardInterrupt in it", code, text(c))
		}
	}
	if got := s.must(t, id, "x"); got != "42" {
		t.Errorf("x is %q, want 42", got)
	}
}

func TestAnInterruptDoesNotEndTheTasksOfEarlierCells(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `import asyncio
n = 0
async def tick():
    global n
    while True:
        n += 1
        for i in range(20000): pass
        await asyncio.sleep(0)
ticking = asyncio.create_task(tick())
cleaned = []`)
	for range 5 {
		s.interruptRunning(t, id, `try: await asyncio.sleep(60)
finally:
    await asyncio.sleep(0.1)
    cleaned.append(1)`)
	}
	if got := s.must(t, id, "before = n; await asyncio.sleep(0.2); n > before, ticking.done(), len(cleaned)"); got != "(True, False, 5)" {
		t.Errorf("after the interrupt: %s, want %s", got, "(True, False, 5)")
	}
}

// While a task never waits, the kernel cannot start the next cell. The deadline of the next cell ends the task.
func TestATaskThatNeverWaitsEndsAtTheDeadlineOfTheNextCell(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import asyncio; x = 42\nasync def busy():\n    while True: pass\nspinning = asyncio.create_task(busy())")
	if c := s.run(t, id, "await asyncio.sleep(60)", time.Second); c.Status != cellhold.StatusTimeout {
		t.Errorf("the cell ended with %s (%s), want timeout", c.Status, c.Cause)
	}
	if got := s.must(t, id, "x, spinning.done()"); got != "(42, True)" {
		t.Errorf("after the interrupt: %s, want %s", got, "(42, True)")
	}
}

// Code that cancels all tasks also cancels the task in which the kernel handles requests.
func TestTheKernelAnswersAfterACellCancelledAllTasks(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import asyncio, sys; x = 42")
	for _, code := range []string{
		"for task in asyncio.all_tasks(): task.cancel()\nawait asyncio.sleep(0)",
		"asyncio.current_task().cancel()\nawait asyncio.sleep(1)",
		"await asyncio.sleep(0)\nasyncio.current_task().cancel()",
	} {
		if c := s.run(t, id, code); c.Status != cellhold.StatusError || !strings.Contains(text(c), "CancelledError") {
			t.Errorf("%s\nended with %s: %s, want error and CancelledError", code, c.Status, text(c))
		}
	}
	s.must(t, id, `async def later():
    await asyncio.sleep(0.05)
    for task in asyncio.all_tasks(): task.cancel()
async def leave():
    sys.exit(3)
cancelling = asyncio.create_task(later())`)
	s.must(t, id, "import time; time.sleep(0.2)")
	if c := s.run(t, id, "await asyncio.gather(leave())"); !strings.Contains(text(c), "SystemExit") {
		t.Errorf("sys.exit in a task: %s: %s, want SystemExit", c.Status, text(c))
	}
	if got := s.must(t, id, "x"); got != "42" {
		t.Errorf("x is %q, want 42", got)
	}
}
