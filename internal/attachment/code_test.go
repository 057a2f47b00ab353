package attachment

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/packages"
)

// stalledAgent returns a client of an agent that sends one request of code. The agent reads the first line of the
// answer and no more.
func stalledAgent(t *testing.T, request string) *guest.Client {
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

func TestAnAgentThatDoesNotReadDelaysCloseByAtMostSixSeconds(t *testing.T) {
	p, err := packages.New(packages.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := &Attachment{o: Options{Packages: p, Tally: &packages.Tally{}}}
	conn, err := stalledAgent(t, `{"requirements": ["--not-allowed"]}`).NextCode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	a.answerCode(ctx, conn)
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("the answer ended after %s, want at most 6s", took)
	}
}

// change changes packages in a sandbox. It reports whether the change counted as use, and whether the session counted
// as busy.
func change(t *testing.T, byCode bool) (used, moving bool) {
	t.Helper()
	a := &Attachment{o: Options{Logger: slog.New(slog.DiscardHandler), Hooks: Hooks{Used: func() { used = true }}}, installing: make(chan struct{}, 1), ctx: t.Context()}
	_, err := a.changePackages(t.Context(), byCode, func(context.Context) (cellhold.Installation, []cellhold.Package, error) {
		moving = a.Moving()
		return cellhold.Installation{}, nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.Moving() {
		t.Error("Moving returned true after the change, want false")
	}
	return used, moving
}

func TestOnlyInstallationsByCallersCountAsUse(t *testing.T) {
	if used, moving := change(t, false); !used || !moving {
		t.Errorf("a caller installs: got used %t, busy %t; want true, true", used, moving)
	}
	if used, moving := change(t, true); used || moving {
		t.Errorf("code installs: got used %t, busy %t; want false, false", used, moving)
	}
}
