package session

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/kernel"
	"cellhold/internal/packages"
	"cellhold/internal/session/notes"
)

func TestASessionThatInstallsIsNotIdle(t *testing.T) {
	began := time.Now().Add(-time.Hour)
	s := &Session{ctx: t.Context(), slog: slog.New(slog.DiscardHandler), installing: make(chan struct{}, 1),
		m: &Manager{o: Options{IdleTimeout: time.Minute}}, notes: &notes.Notes{}, place: &place{client: &guest.Client{}},
		kernels: map[cellhold.KernelID]*running{"toy": {Kernel: &kernel.Kernel{}}},
		rec:     cellhold.Session{State: cellhold.SessionReady, Kernels: []cellhold.Kernel{{ID: "toy"}}, Used: began}}
	long := time.Now().Add(time.Hour) // the installation takes that long
	_, err := s.changePackages(t.Context(), caller{life: t.Context()}, func(context.Context, packages.Guest) (cellhold.Installation, []cellhold.Package, error) {
		if due := s.due(long); due.Before(long) {
			t.Errorf("in the middle of it the session would end at %s", due)
		}
		return cellhold.Installation{}, nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if due := s.due(long); !due.Before(long) {
		t.Errorf("afterwards it would end at %s", due)
	}
}
