package runnerbin

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestABuildWithoutTheRunnerSaysHowToFixIt(t *testing.T) {
	if _, err := files.Open("bin/" + Name + ".gz"); err == nil {
		b, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		path, err := b.Find(b.Digest())
		if err != nil {
			t.Fatal(err)
		}
		head, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(head), "\x7fELF") {
			t.Fatalf("the runner does not run: %v", err)
		}
		return
	}
	_, err := Open(t.TempDir())
	if !errors.Is(err, ErrNotBuiltIn) || !strings.Contains(err.Error(), "make build") {
		t.Fatalf("got %v", err)
	}
}
