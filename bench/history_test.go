package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cellhold/bench/report"
)

// A run of sources with uncommitted changes must not replace the history's entry for their commit. Changes in
// bench/reference and in Markdown files do not count, because each full run changes such files.
func TestTheCommitOfTheSourcesShowsUncommittedChanges(t *testing.T) {
	sources := filepath.Join(t.TempDir(), "bench")
	change := func(name string) {
		t.Helper()
		path := filepath.Join(sources, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(time.Now().String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", filepath.Dir(sources), "-c", "user.name=t", "-c", "user.email=t"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	names := []string{"reference/history.json", "../docs/page.md", "../page.md", "../cmd/main.go"}
	for _, name := range names {
		change(name)
	}
	if got := commitOf(t.Context(), sources); got != "" {
		t.Errorf("without git the commit is %q, want none", got)
	}
	git("init", "--quiet")
	git("add", ".")
	git("commit", "--quiet", "--message", "first")
	committed := commitOf(t.Context(), sources)
	if len(committed) != 12 {
		t.Errorf("the commit is %q, want 12 digits", committed)
	}
	for i, name := range names {
		change(name)
		want := committed
		if i == len(names)-1 {
			want += "+changes"
		}
		if got := commitOf(t.Context(), sources); got != want {
			t.Errorf("after a change of %s the commit is %q, want %q", name, got, want)
		}
	}
}

func TestAFullRunIsKeptInTheHistory(t *testing.T) {
	o := options{sources: t.TempDir()}
	if err := os.Mkdir(filepath.Dir(historyFile(o)), 0o755); err != nil {
		t.Fatal(err)
	}
	for i, commit := range []string{"a", "b", "b"} {
		h, err := readHistory(o)
		if err != nil {
			t.Fatal(err)
		}
		h, err = extendHistory(o, h, &report.Report{Version: "development", Commit: commit})
		if err != nil {
			t.Fatal(err)
		}
		if want := min(i+1, 2); len(h) != want {
			t.Errorf("after run %d the history has %d entries, want %d", i+1, len(h), want)
		}
	}
	for _, part := range []options{{quick: true}, {only: []string{"cell"}}, {with: []string{"warm"}}} {
		if part.full() {
			t.Errorf("%+v counts as a full run", part)
		}
	}
}
