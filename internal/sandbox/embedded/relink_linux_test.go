package embedded

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"cellhold/internal/sandbox/embedded/process"
)

// breaker is a guest that answers each host and then breaks the protocol. It runs until the pipes are closed.
func breaker(in io.Reader, out io.Writer) {
	reset := make([]byte, 35)
	ping := []byte{0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7}
	for {
		if _, err := io.ReadFull(in, reset); err != nil {
			return
		}
		if _, err := out.Write(append(reset[3:], ping...)); err != nil {
			return
		}
		reset = make([]byte, 35)
	}
}

// unlinked returns a sandbox without a link, and the guest's ends of its FIFOs.
func unlinked(t *testing.T) (b *box, in, out *os.File) {
	t.Helper()
	dir := t.TempDir()
	p := paths{in: filepath.Join(dir, "in"), out: filepath.Join(dir, "out")}
	var ends []*os.File
	for _, path := range []string{p.in, p.out} {
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		ends = append(ends, f)
	}
	b = &box{d: &Driver{startTimeout: time.Minute}, paths: p, sentry: &process.Handle{}, attaching: make(chan struct{}, 1),
		linkPace: rate.NewLimiter(linkRate, linkBurst), ended: make(chan struct{}), detached: make(chan struct{})}
	return b, ends[0], ends[1]
}

func TestTheLinkOfAGuestThatBreaksItIsNotOpenedAgainAtOnce(t *testing.T) {
	b, in, out := unlinked(t)
	go breaker(in, out)
	for n := range 20 * linkBurst {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		host, err := b.attached(ctx)
		cancel()
		if err != nil { // the next link would be opened later than the deadline
			if n < linkBurst {
				t.Errorf("the link was opened %d times, want at least %d: %v", n, linkBurst, err)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want context.DeadlineExceeded", err)
			}
			return
		}
		<-host.Done()
		_ = host.Close()
	}
	t.Errorf("the link was opened %d times, each within a second, want a pause after %d", 20*linkBurst, linkBurst)
}

func TestTheDriverDetachesFromAGuestThatDoesNotAnswer(t *testing.T) {
	b, in, _ := unlinked(t)
	attached := make(chan error, 1)
	go func() {
		_, err := b.attached(t.Context())
		attached <- err
	}()
	if _, err := io.ReadFull(in, make([]byte, 35)); err != nil { // the host now waits for the answer
		t.Fatal(err)
	}
	close(b.detached)
	if err := <-attached; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}
