package repl

import (
	"strings"
	"testing"

	"cellhold/internal/cli/output"
)

func TestTheEditorStartsNoOtherProgram(t *testing.T) {
	e := newEditor(&REPL{Printer: &output.Printer{}}, &history{})
	for name := range e.shell.Keymap.Commands() {
		if strings.Contains(name, "edit-command-line") || strings.Contains(name, "edit-and-execute") {
			t.Errorf("the command %s exists", name)
		}
	}
	if e.shell.Keymap.Commands()["accept-line"] == nil {
		t.Error("the command accept-line does not exist")
	}
}
