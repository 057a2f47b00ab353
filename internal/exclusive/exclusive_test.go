package exclusive

import (
	"context"
	"testing"
)

func TestOnlyOneCallerHoldsAKeyAndTheLastOneDeletesIt(t *testing.T) {
	var k Keys
	release, err := k.Hold(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Hold(gone, "ann"); err == nil {
		t.Error("two callers hold one key")
	}
	other, err := k.Hold(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	other()
	if k.Len() != 1 {
		t.Errorf("%d keys while one is held, want 1", k.Len())
	}
	held := make(chan func())
	go func() {
		next, err := k.Hold(t.Context(), "ann")
		if err != nil {
			t.Error(err)
		}
		held <- next
	}()
	release()
	(<-held)()
	if k.Len() != 0 {
		t.Errorf("%d keys are left, want 0", k.Len())
	}
}
