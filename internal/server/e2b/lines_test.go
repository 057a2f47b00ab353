package e2b

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"cellhold"
)

func TestObjectsOfAKernelAreCheckedBeforeTheyArePassedOn(t *testing.T) {
	for text, want := range map[string]bool{
		`{"a":[1]}`: true, ` {} `: true, `[1]`: false, `1`: false, ``: false, `{"a":1`: false, `{"a":1}{"b":2}`: false,
		`{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`:           false,
		`{"a":"` + strings.Repeat("x", maxStructured) + `"}`:                                false,
		`{"a":` + strings.Repeat("[", maxLevels-1) + strings.Repeat("]", maxLevels-1) + `}`: true,
		`{"a":` + strings.Repeat("[", maxLevels) + strings.Repeat("]", maxLevels) + `}`:     false,
		`{"a":"` + strings.Repeat(`[{\"`, 1000) + `"}`:                                      true,
	} {
		value, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := object(value); got != want {
			t.Errorf("%.30s: got accepted %t, want %t", text, got, want)
		}
	}
}

// TestALineHasNoOtherSeparatorOfLines: Python's str.splitlines would cut the line at these characters.
func TestALineHasNoOtherSeparatorOfLines(t *testing.T) {
	const text = "a\u0085b\u2028c\u2029d<é"
	raw, err := json.Marshal(map[string]any{"text": text})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []any{map[string]any{"text": text}, json.RawMessage(bytes.ReplaceAll(raw, []byte(`\u2028`), []byte("\u2028")))} {
		w := httptest.NewRecorder()
		if err := (&stream{w: w}).write(value); err != nil {
			t.Fatal(err)
		}
		var back struct{ Text string }
		line := w.Body.String()
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), isSeparator) || json.Unmarshal([]byte(line), &back) != nil || back.Text != text {
			t.Errorf("got the line %q, want the text %q without separators", line, text)
		}
	}
	w := httptest.NewRecorder()
	if err := (&stream{w: w}).write(map[string]any{"text": "<&>"}); err != nil || w.Body.String() != "{\"text\":\"<&>\"}\n" {
		t.Errorf("got %q and %v, want HTML without escapes", w.Body, err)
	}
}

func TestATextResultLosesOnePairOfQuotes(t *testing.T) {
	for text, want := range map[string]string{`'a'`: "a", `"a"`: "a", `'a"`: `'a"`, `''`: "", `'`: "'", `a`: "a", `"'a'"`: "'a'"} {
		value, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(unquoted(value)); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestEveryEndWithoutAnExceptionIsAnErrorWithItsCause(t *testing.T) {
	for _, status := range []cellhold.CellStatus{cellhold.StatusInterrupted, cellhold.StatusTimeout, cellhold.StatusCancelled, cellhold.StatusOOM, cellhold.StatusSignal, cellhold.StatusExit, cellhold.StatusLost} {
		lines := new(translator).translate(cellhold.NewEvent(cellhold.EventCellDone, "", "", cellhold.CellDoneContent{Status: status, Cause: "why"}))
		if e, ok := lines[0].(errorLine); len(lines) != 2 || !ok || e.Value != "why" || e.Name == "" || e.Traceback == "" {
			t.Errorf("%s: got %+v, want an error with its cause and the end", status, lines)
		}
	}
}

func TestTheNetworkOfASandboxIsTranslatedOrRefused(t *testing.T) {
	for body, want := range map[string]string{
		`{}`: "server", `{"allow_internet_access":true}`: "public []", `{"allow_internet_access":false}`: "none []",
		`{"network":{"denyOut":["0.0.0.0/0"]}}`:                                  "none []",
		`{"network":{"denyOut":["0.0.0.0/0"],"allowOut":["example.org"]}}`:       "allowlist [example.org]",
		`{"allow_internet_access":false,"network":{"allowOut":["example.org"]}}`: "allowlist [example.org]",
		`{"network":{"allowOut":["0.0.0.0/0"]}}`:                                 "public []",
		`{"network":{"allowOut":["10.0.0.1"]}}`:                                  "refused",
		`{"network":{"allowOut":["::1"]}}`:                                       "refused",
		`{"network":{"denyOut":["example.org"]}}`:                                "refused",
		`{"network":{"egressProxy":{"address":"x"}}}`:                            "refused",
		`{"network":{"rules":{"example.org":[{"transform":{"headers":{}}}]}}}`:   "refused",
	} {
		var q newSandbox
		if err := json.Unmarshal([]byte(body), &q); err != nil {
			t.Fatal(err)
		}
		e, err := q.egress()
		got := "server"
		if err != nil {
			got = "refused"
		} else if e != nil {
			got = fmt.Sprintf("%s %v", e.Policy, e.Hosts)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
}
