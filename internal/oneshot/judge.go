package oneshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/memory"
)

const (
	// maxCompared is the size of the largest output that the server compares with an expected output. It leaves space
	// for white space that does not count.
	maxCompared = 4 << 20
	// testText is the size of the beginning and of the end of an output in the result of a test.
	testText = 2 << 10
	// maxTestText limits the outputs of all tests in a result. If it is reached, later tests have only the sizes of
	// their outputs.
	maxTestText = 1 << 20
	// maxShown is the number of characters of a line in the cause of a test.
	maxShown = 80
)

// runTests runs the program once for each test. If the end of the sandbox or the deadline ends the run, the remaining
// tests get the reason.
func (j *job) runTests(ctx context.Context) error {
	j.result.Status = cellhold.RunOK
	var ended error
	room := maxTestText
	for i, t := range j.plan.request.Tests {
		r := cellhold.RunTestResult{Status: cellhold.TestError}
		if ended == nil {
			r, ended = j.runTest(ctx, t, i == 0, min(testText, room/4))
			room -= len(r.Stdout.Text) + len(r.Stdout.Tail) + len(r.Stderr.Text) + len(r.Stderr.Tail)
		}
		if i == 0 && cellhold.KindOf(ended) == cellhold.Invalid { // such as a missing interpreter
			return ended
		}
		if ended != nil {
			r.Cause = causeOf(ended)
			j.result.Cause = r.Cause
		}
		if r.Status == cellhold.TestPassed {
			j.result.Passed++
		} else {
			j.result.Status = cellhold.RunFailed
		}
		j.result.Tests = append(j.result.Tests, r)
	}
	return nil
}

// runTest runs the program for one test. The result has the first and the last n bytes of each output. After the first
// test, a missing program is a failure of the code, which can have removed the program.
func (j *job) runTest(ctx context.Context, t cellhold.RunTest, first bool, n int) (cellhold.RunTestResult, error) {
	r := cellhold.RunTestResult{Status: cellhold.TestError}
	c, err := j.command(ctx, j.plan.argv(t.Args), t.Stdin, j.plan.timeout)
	if err == nil && first {
		err = j.checkTool(c, j.plan.language.run)
	}
	if errors.Is(err, errStuck) {
		r.Status = cellhold.TestTimeout
	}
	if err != nil {
		return r, err
	}
	r.Stdout, r.Stderr = shorten(c.Stdout, n), shorten(c.Stderr, n)
	r.Wall = c.Ended.Sub(c.Started).Seconds()
	if c.Status != cellhold.CommandLost && c.Status != cellhold.CommandTimeout {
		code := c.Code // a pointer into c would keep its outputs
		r.Exit = &code
	}
	r.Status, r.Cause, err = j.judge(ctx, t, c)
	return r, err
}

// judge compares the exit status and the output of a program with the expected ones.
func (j *job) judge(ctx context.Context, t cellhold.RunTest, c cellhold.Command) (cellhold.RunTestStatus, string, error) {
	switch {
	case c.Status == cellhold.CommandTimeout:
		return cellhold.TestTimeout, c.Cause, nil
	case c.Status == cellhold.CommandOOM || c.Status == cellhold.CommandLost:
		return cellhold.TestError, c.Cause, nil
	case c.Code != t.Exit && c.Cause != "": // such as a program that is missing
		return cellhold.TestError, c.Cause, nil
	case c.Code != t.Exit && c.Signal != "":
		return cellhold.TestError, fmt.Sprintf("Signal %s ended the program; the test expects exit status %d.", c.Signal, t.Exit), nil
	case c.Code != t.Exit:
		return cellhold.TestError, fmt.Sprintf("The exit status is %d; the test expects %d.", c.Code, t.Exit), nil
	case t.Stdout == nil:
		return cellhold.TestPassed, "", nil
	}
	if c.Stdout.Bytes > maxCompared || c.Dropped > 0 {
		return cellhold.TestFailed, fmt.Sprintf("The output has %d bytes; at most %d are compared.", c.Stdout.Bytes, maxCompared), nil
	}
	share, err := j.memory.Take(memory.Detach(ctx), 2*c.Stdout.Bytes)
	if err != nil {
		return cellhold.TestError, "", err
	}
	defer share.Release()
	got, err := j.stdout(ctx, c)
	if err != nil {
		return cellhold.TestError, "", err
	}
	if other := difference(got, []byte(*t.Stdout), t.Match); other != "" {
		return cellhold.TestFailed, other, nil
	}
	return cellhold.TestPassed, "", nil
}

// stdout returns the whole standard output of a command that is done. It reads a short output from the command's
// record, and a long output from the events.
func (j *job) stdout(ctx context.Context, c cellhold.Command) ([]byte, error) {
	if c.Stdout.Omitted == 0 {
		return textOf(c.Stdout), nil
	}
	events, err := j.session.History().WatchCommand(ctx, c.ID, c.First-1)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, c.Stdout.Bytes)
	for ev, err := range events {
		if err != nil {
			return nil, err
		}
		var s cellhold.StreamContent
		if ev.Type != cellhold.EventStream {
			continue
		}
		if err := ev.Decode(&s); err != nil {
			return nil, err
		}
		if s.Name == "stdout" {
			out = append(append(out, s.Text...), s.Data...)
		}
		if len(out) > maxCompared {
			return nil, errors.New("the output in the events is longer than that in the record")
		}
	}
	return out, nil
}

// difference returns a sentence about the first line of an output that is not as expected, or an empty text.
func difference(got, want []byte, how cellhold.RunMatch) string {
	clean := func(b []byte) []byte { return b }
	if how != cellhold.RunExact {
		clean = func(b []byte) []byte { return bytes.TrimRight(b, blank) }
	}
	got, want = clean(got), clean(want)
	for n := 1; ; n++ {
		a, restA, moreA := bytes.Cut(got, []byte("\n"))
		b, restB, moreB := bytes.Cut(want, []byte("\n"))
		switch {
		case !bytes.Equal(clean(a), clean(b)):
			return fmt.Sprintf("Line %d is %s; the test expects %s.", n, shown(a), shown(b))
		case moreA && !moreB:
			next, _, _ := bytes.Cut(restA, []byte("\n"))
			return fmt.Sprintf("Line %d is %s; the test expects no such line.", n+1, shown(next))
		case moreB && !moreA:
			next, _, _ := bytes.Cut(restB, []byte("\n"))
			return fmt.Sprintf("Line %d is missing; the test expects %s.", n+1, shown(next))
		case !moreA:
			return ""
		}
		got, want = restA, restB
	}
}

// shown returns the beginning of a line with quotes.
func shown(b []byte) string {
	return fmt.Sprintf("%.*q", maxShown, b[:min(len(b), maxShown*utf8.UTFMax)])
}

// blank is the white space that a comparison ignores at the end of a line.
const blank = " \t\r\n\v\f"
