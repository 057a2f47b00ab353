package client_test

import (
	"bytes"
	"net/http"
	"sync/atomic"
	"testing"

	"cellhold"
	"cellhold/client"
)

func TestARunReturnsItsResult(t *testing.T) {
	c := start(t, nil)
	out := "x\n"
	r, err := c.Run(t.Context(), cellhold.RunRequest{Code: "cat", Tests: []cellhold.RunTest{{Stdin: "x", Stdout: &out}}})
	if err != nil || r.Status != cellhold.RunOK || r.Passed != 1 {
		t.Errorf("got %+v, %v; want status ok and one passed test", r, err)
	}
	if _, err := c.Run(t.Context(), cellhold.RunRequest{}); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("without code: got %v, want kind invalid", err)
	}
}

// cutAfterLine breaks the first answer of a batch after its first line.
func cutAfterLine(next http.Handler) http.Handler {
	var cut atomic.Bool
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/runs" && !cut.Swap(true) {
			w = &cutWriter{w}
		}
		next.ServeHTTP(w, r)
	})
}

type cutWriter struct{ http.ResponseWriter }

func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *cutWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	if bytes.HasSuffix(p, []byte("\n")) {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func TestABatchWithAKeyContinuesAfterABrokenConnection(t *testing.T) {
	batch := client.Batch{Runs: []cellhold.RunRequest{{Command: "echo a"}, {Command: "echo b"}, {Command: "echo c"}}, Parallel: 1}
	for _, key := range []string{"", "k"} {
		c := start(t, cutAfterLine)
		batch.Key = key
		var got string
		var last error
		for r, err := range c.Runs(t.Context(), batch) {
			got, last = got+r.Stdout.Text, err
		}
		if want := "a\nb\nc\n"; key != "" && (got != want || last != nil) {
			t.Errorf("with a key: got %q, %v; want %q once", got, last, want)
		}
		if key == "" && (got != "a\n" || cellhold.KindOf(last) != cellhold.Unavailable) {
			t.Errorf("without a key: got %q, %v; want the first result and kind unavailable", got, last)
		}
	}
}
