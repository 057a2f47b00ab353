package oneshot

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"cellhold"
)

func TestOutputsAreComparedExactlyOrWithoutWhiteSpaceAtTheEnds(t *testing.T) {
	for _, x := range []struct {
		got, want      string
		exact, trimmed bool
	}{
		{"a\n", "a\n", true, true},
		{"a", "a\n", false, true},
		{"a \r\nb\n\n", "a\nb", false, true},
		{"", "\n \n", false, true},
		{" a", "a", false, false},
		{"a\n\nb", "a\nb", false, false},
		{"a b", "a  b", false, false},
		{"a\nb", "a", false, false},
		{"a", "a\nb", false, false},
		{"\xff\n", "\xff", false, true},
	} {
		if got := difference([]byte(x.got), []byte(x.want), cellhold.RunExact) == ""; got != x.exact {
			t.Errorf("exact, %q and %q: got %t, want %t", x.got, x.want, got, x.exact)
		}
		if got := difference([]byte(x.got), []byte(x.want), "") == ""; got != x.trimmed {
			t.Errorf("trimmed, %q and %q: got %t, want %t", x.got, x.want, got, x.trimmed)
		}
	}
}

// FuzzDifference compares difference with a slower definition.
func FuzzDifference(f *testing.F) {
	f.Add("a \nb\n", "a\nb")
	f.Add("\n", "")
	f.Fuzz(func(t *testing.T, got, want string) {
		plain := func(s string) []string {
			lines := strings.Split(strings.TrimRight(s, blank), "\n")
			for i := range lines {
				lines[i] = strings.TrimRight(lines[i], blank)
			}
			return lines
		}
		if is, must := difference([]byte(got), []byte(want), cellhold.RunTrimmed) == "", slices.Equal(plain(got), plain(want)); is != must {
			t.Errorf("%q and %q: got %t, want %t", got, want, is, must)
		}
	})
}

func TestAShortenedOutputHasItsEndsAndItsSize(t *testing.T) {
	whole := strings.Repeat("é", 50)
	for _, x := range []struct {
		name       string
		in         cellhold.CommandOutput
		text, tail string
		omitted    int64
	}{
		{"a short output", cellhold.CommandOutput{Text: "abc", Bytes: 3}, "abc", "", 0},
		{"text", cellhold.CommandOutput{Text: whole, Bytes: 100}, "éé", "éé", 92},
		{"text with a tail", cellhold.CommandOutput{Text: whole, Tail: "12345678", Bytes: 1000, Omitted: 892}, "éé", "45678", 991},
		{"bytes", cellhold.CommandOutput{Text: base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")), Encoding: "base64", Bytes: 16},
			base64.StdEncoding.EncodeToString([]byte("01234")), base64.StdEncoding.EncodeToString([]byte("bcdef")), 6},
	} {
		o := shorten(x.in, 5)
		if o.Text != x.text || o.Tail != x.tail || o.Omitted != x.omitted || o.Bytes != x.in.Bytes {
			t.Errorf("%s: got %+v, want text %q, tail %q, %d omitted", x.name, o, x.text, x.tail, x.omitted)
		}
	}
}

func TestAFailedTestNamesTheFirstLineThatDiffers(t *testing.T) {
	for _, x := range []struct{ got, want, cause string }{
		{"a\nb\nc", "a\nB\nC", `Line 2 is "b"; the test expects "B".`},
		{"a\nb", "a", `Line 2 is "b"; the test expects no such line.`},
		{"a", "a\nb\nc", `Line 2 is missing; the test expects "b".`},
		{strings.Repeat("é", 1000), "\xff", `Line 1 is "` + strings.Repeat("é", maxShown) + `"; the test expects "\xff".`},
	} {
		if got := difference([]byte(x.got), []byte(x.want), ""); got != x.cause {
			t.Errorf("%.20q and %q: got %q, want %q", x.got, x.want, got, x.cause)
		}
	}
}

func TestTheEndOfAProgramIsExplained(t *testing.T) {
	j := &job{plan: plan{language: language{name: "c"}}}
	for _, x := range []struct {
		c      cellhold.Command
		status cellhold.RunTestStatus
		cause  string
	}{
		{cellhold.Command{Status: cellhold.CommandOK}, cellhold.TestPassed, ""},
		{cellhold.Command{Status: cellhold.CommandExit, Code: 3}, cellhold.TestError, "The exit status is 3; the test expects 0."},
		{cellhold.Command{Status: cellhold.CommandSignal, Code: 139, Signal: "SEGV"}, cellhold.TestError, "Signal SEGV ended the program; the test expects exit status 0."},
		{cellhold.Command{Status: cellhold.CommandExit, Code: exitNotFound, Cause: "no such program"}, cellhold.TestError, "no such program"},
		{cellhold.Command{Status: cellhold.CommandTimeout, Cause: "late"}, cellhold.TestTimeout, "late"},
	} {
		if status, cause, err := j.judge(t.Context(), cellhold.RunTest{}, x.c); err != nil || status != x.status || cause != x.cause {
			t.Errorf("%+v: got %s, %q, %v; want %s, %q", x.c, status, cause, err, x.status, x.cause)
		}
	}
}

// TestAProgramThatRemovedItselfIsNoMissingTool: if the server took it for a missing compiler, the program could choose
// the status refused.
func TestAProgramThatRemovedItselfIsNoMissingTool(t *testing.T) {
	j := &job{plan: plan{language: languages["c"]}}
	missing := cellhold.Command{Status: cellhold.CommandExit, Code: exitNotFound, Cause: "no such program"}
	if err := j.checkTool(missing, j.plan.language.run); err != nil {
		t.Errorf("got %v, want no error about the image", err)
	}
}

// TestAResultWithoutItsLargePartsIsSmall: a batch reserves disk for such a result of each run.
func TestAResultWithoutItsLargePartsIsSmall(t *testing.T) {
	long := cellhold.CommandOutput{Text: strings.Repeat("\x00", maxText), Tail: strings.Repeat("\x00", maxText), Bytes: 3 * maxText, Omitted: maxText}
	r := cellhold.RunResult{Status: cellhold.RunFailed, Outputs: []cellhold.Output{{}, {}}, Stdout: long, Stderr: long,
		Exception: &cellhold.RunRaised{Value: strings.Repeat("x", 1<<20), Traceback: []string{strings.Repeat("x", 1<<20)}},
		Files:     []cellhold.RunChangedFile{{Path: strings.Repeat("\x01", 4000), Content: "x"}}}
	for range 50 {
		r.Tests = append(r.Tests, cellhold.RunTestResult{Status: cellhold.TestFailed, Cause: difference(make([]byte, 1000), []byte(strings.Repeat("\x01", 1000)), ""), Stdout: long, Stderr: long})
	}
	small := slim(r)
	if small.Status != r.Status || small.Omitted != 2 || !small.MoreFiles || small.Stdout.Omitted != long.Bytes-2*slimText || len(small.Tests) != 50 || small.Tests[0].Stdout.Omitted != long.Bytes {
		t.Errorf("got %+v, want the statuses, and the number of omitted outputs and bytes", small)
	}
	b, err := encode(small)
	if limit := leastResult(cellhold.RunRequest{Tests: make([]cellhold.RunTest, 50)}); err != nil || int64(len(b)) > limit {
		t.Errorf("got %d bytes, %v; want at most %d", len(b), err, limit)
	}
	if len(r.Tests[0].Stdout.Text) != maxText {
		t.Error("the result itself was changed")
	}
}

func TestAnEmptyFileHasAContent(t *testing.T) {
	b, err := encode(cellhold.RunResult{Files: []cellhold.RunChangedFile{{Path: "/a"}}})
	if err != nil || !strings.Contains(string(b), `"content":""`) {
		t.Errorf("got %s, %v; want an empty content", b, err)
	}
}
