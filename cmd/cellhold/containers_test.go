package main

import (
	"os"
	"strings"
	"testing"

	"cellhold/internal/cli/container"
)

func TestTheMarkOfADropIsReadOnce(t *testing.T) {
	t.Setenv(container.Mark, "1")
	if first, second := dropped(), dropped(); !first || second {
		t.Errorf("got %t and then %t, want true and false", first, second)
	}
	if _, set := os.LookupEnv(container.Mark); set {
		t.Error("child processes get the mark, want that they do not")
	}
	if strings.HasPrefix(container.Mark, "CELLHOLD_") {
		t.Errorf("%s looks like a setting", container.Mark)
	}
}
