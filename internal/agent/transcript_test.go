package agent_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter/jupytertest"
	"cellhold/internal/sandbox/fake"
)

var update = flag.Bool("update", false, "rewrite the expected events in testdata")

// TestTranscripts sends the messages of each file in testdata as a kernel, and compares the events of the
// cell. A line of messages has a type and a content. "reply" lines set how the cell ends.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { transcript(t, file) })
	}
}

func transcript(t *testing.T, file string) {
	const messagesMark, eventsMark = "-- messages --\n", "-- events --\n" // of a txtar archive
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	about, rest, ok := strings.Cut(string(b), messagesMark)
	messages, want, ok2 := strings.Cut(rest, eventsMark)
	if !ok || !ok2 {
		t.Fatalf("%s: want the files messages and events", file)
	}
	script := func() jupytertest.Script {
		return func(c *jupytertest.Cell) { play(t, c, messages) }
	}
	r := withKernel(t, fake.Options{Script: script})
	got := lines(r.run("play").events)
	if *update {
		writeFile(t, file, about+messagesMark+messages+eventsMark+got)
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func play(t *testing.T, c *jupytertest.Cell, messages string) {
	for line := range strings.Lines(messages) {
		word, content, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "":
		case "fail":
			name, value, _ := strings.Cut(content, " ")
			c.Fail(name, value)
		default:
			if !json.Valid([]byte(content)) {
				t.Errorf("%s: the content is not JSON: %s", word, content)
				return
			}
			c.Send(word, json.RawMessage(content))
		}
	}
}

func lines(events []guestapi.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%s %s\n", e.Type, e.Content)
	}
	return b.String()
}
