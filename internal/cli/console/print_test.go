package console

import (
	"cellhold"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestNoFormPrintsControlCharactersOfOthers(t *testing.T) {
	hostile := "a\b\x1b]0;title\x07\u009b2J\u202eb"
	list := []map[string]string{{"id": hostile}}
	for _, format := range []Format{{}, {JSON: true}, {Quiet: true}} {
		var out strings.Builder
		p := Printer{Format: format, Out: &out}
		err := errors.Join(p.Table(list, "ID", [][]string{{hostile}}), p.Object(list, hostile, []Field{{"id", hostile}}),
			p.Result(list, hostile), p.Report(list, "%s", hostile), p.Line(list))
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || ChangesDirection(r)) }); i >= 0 {
			t.Errorf("%+v: got %q, want no control characters", format, out.String())
		}
	}
	if got := Sentence(cellhold.Errorf(cellhold.Internal, "x\x1b[2Jy\rz")); got != "xy z" {
		t.Errorf("got the sentence %q, want %q", got, "xy z")
	}
}

func TestAPrintableTextCoversNoOtherText(t *testing.T) {
	if got, want := Printable("rm\b\b\bls\r\tx\x1b[1D\n"), "rm ls x"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEachErrorHasAnExitStatusOfTheTable(t *testing.T) {
	var codes []int
	for _, s := range Statuses {
		if slices.Contains(codes, s.Code) || s.Meaning == "" {
			t.Errorf("%d: listed twice, or without a meaning", s.Code)
		}
		codes = append(codes, s.Code)
	}
	denied := cellhold.Errorf(cellhold.Denied, "x")
	tests := []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{errors.New("x"), ExitFailed},
		{Usage(denied), ExitUsage},
		{denied, ExitDenied},
		{Message(denied), ExitDenied},
		{errors.Join(errors.New("y"), fmt.Errorf("session s1: %w", Message(denied))), ExitDenied},
		{OwnFailure(denied), ExitFailed},
		{OwnFailure(ExitError(7)), 7},
		{cellhold.Errorf("new", "x"), ExitFailed},
	}
	for _, test := range tests {
		if got := ExitStatus(test.err); got != test.want {
			t.Errorf("%v: got %d, want %d", test.err, got, test.want)
		}
	}
	kinds := []cellhold.Kind{cellhold.Invalid, cellhold.NotFound, cellhold.Conflict, cellhold.Denied, cellhold.Exhausted, cellhold.Unavailable, cellhold.Unsupported, cellhold.Internal}
	for _, kind := range kinds {
		if got := ExitStatus(cellhold.Errorf(kind, "x")); got <= ExitUsage || !slices.Contains(codes, got) {
			t.Errorf("%s: got %d, want a status of its own in the table", kind, got)
		}
	}
}
