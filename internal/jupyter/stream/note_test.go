package stream

import (
	"errors"
	"testing"
)

func TestOnlyAConnectionWithNotesAcceptsTheirChannel(t *testing.T) {
	whole, err := Frame(Note, parts("{}", "{}", "{}", "{}")...)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := reader(whole, Options{Notes: true}).Recv(); err != nil || m.Channel != Note {
		t.Errorf("got %+v, %v, want a note", m, err)
	}
	if _, err := reader(whole, Options{}).Recv(); !errors.Is(err, ErrProtocol) {
		t.Errorf("a kernel sent a note: %v", err)
	}
	if _, err := reader(raw(20, 6, 0, 4, 0, 0, 0, 0), Options{Notes: true}).Recv(); !errors.Is(err, ErrProtocol) {
		t.Errorf("channel 6: %v", err)
	}
}
