package guestbin

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestABuildWithoutTheGuestSaysHowToFixIt(t *testing.T) {
	if _, err := files.Open("bin/" + Name); err == nil {
		b, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		head, err := os.ReadFile(b.Path())
		if err != nil || !strings.HasPrefix(string(head), "\x7fELF") {
			t.Fatalf("the guest's binary does not run: %v", err)
		}
		return
	}
	_, err := Open(t.TempDir())
	if !errors.Is(err, ErrNotBuiltIn) || !strings.Contains(err.Error(), "make build") {
		t.Fatalf("got %v", err)
	}
}
