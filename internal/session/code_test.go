package session

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
	"cellhold/internal/packages"
	"cellhold/internal/session/notes"
)

// mute is an agent that passes one request of code to the host and reads nothing afterwards but the first line.
func mute(t *testing.T, request string) *guest.Client {
	t.Helper()
	c, err := guest.New(guest.Options{Logger: slog.New(slog.DiscardHandler), Dial: func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		go func() {
			in := bufio.NewReaderSize(theirs, 16)
			if _, err := http.ReadRequest(in); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(theirs, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+guestapi.CodeUpgrade+"\r\n\r\n"+request+"\n")
			_, _ = in.ReadString('\n')
		}()
		return ours, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAnAgentThatDoesNotReadHoldsNobodyUpAtTheEnd(t *testing.T) {
	p, err := packages.New(packages.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := &Session{m: &Manager{o: Options{Packages: p}}}
	conn, err := mute(t, `{"requirements": ["--not-allowed"]}`).NextCode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	s.serveCode(ctx, conn)
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestWhatCodeInstallsDoesNotCountAsUseOfTheSession(t *testing.T) {
	began := time.Now().Add(-time.Hour).UTC()
	s := &Session{ctx: t.Context(), slog: slog.New(slog.DiscardHandler), installing: make(chan struct{}, 1),
		m: &Manager{o: Options{IdleTimeout: time.Minute}}, notes: &notes.Notes{}, place: &place{client: &guest.Client{}},
		kernels: map[cellhold.KernelID]*running{"toy": {Kernel: &kernel.Kernel{}}},
		rec:     cellhold.Session{State: cellhold.SessionReady, Kernels: []cellhold.Kernel{{ID: "toy"}}, Used: began}}
	_, err := s.changePackages(t.Context(), caller{life: t.Context(), code: true}, func(context.Context, packages.Guest) (cellhold.Installation, []cellhold.Package, error) {
		if due := s.due(time.Now()); due.After(time.Now()) {
			t.Errorf("in the middle of it the session would end at %s", due)
		}
		if _, _, err := s.quieten(); cellhold.KindOf(err) != cellhold.Conflict {
			t.Errorf("in the middle of it the session can be hibernated: %v", err)
		}
		return cellhold.Installation{}, nil, nil
	})
	if used := s.record().Used; err != nil || !used.Equal(began) {
		t.Errorf("it was used at %s, not %s, %v", used, began, err)
	}
}

// askAsCode is what becomes of that many requirements of the code of a session.
func (s *Session) askAsCode(p *packages.Packages, from, to int) error {
	for i := from; i < to; i++ {
		if _, err := p.PlanOfCode(packages.Request{Requirements: []string{fmt.Sprint("n", i)}}, &s.tally); err != nil {
			return err
		}
	}
	return nil
}
