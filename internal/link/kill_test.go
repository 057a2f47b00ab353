package link_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/link"
)

// TestMain is also the host process that TestAKilledHostCanBeReplaced kills.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "host" {
		if err := beHost(os.Args[2], os.Args[3]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beHost attaches and sends on eight streams until it is killed. It prints a line on standard output when bytes have
// come back.
func beHost(in, out string) error {
	r, err := os.OpenFile(out, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	w, err := os.OpenFile(in, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	ctx, cancel := contextWithPatience()
	defer cancel()
	h, err := link.Attach(ctx, r, w)
	if err != nil {
		return err
	}
	errs := make(chan error)
	for range 8 {
		c, err := h.Dial(ctx)
		if err != nil {
			return err
		}
		go func() {
			for {
				if err := exchange(c, 1+rand.IntN(50_000)); err != nil {
					errs <- err
					return
				}
				fmt.Println("busy")
			}
		}()
	}
	return <-errs
}

func TestAKilledHostCanBeReplaced(t *testing.T) {
	f := newFIFOs(t)
	f.echo(t)
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		killHost(t, f, time.Duration(i)*time.Millisecond)
		h := f.attach(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { mustEchoOrError(t, h, 100_000) })
		}
		wg.Wait()
		_ = h.Close()
	}
}

// killHost runs a host until it is busy, waits for a moment, and kills it.
func killHost(t *testing.T, f fifos, moment time.Duration) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "host", f.in, f.out)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "busy\n" {
		t.Fatalf("the host printed %q, %v; want busy", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	<-time.After(moment) // at any point of its traffic
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("Wait returned %v, want the exit error of a killed host", err)
	}
}

func mustEchoOrError(t *testing.T, h *link.Host, n int) {
	c, err := h.Dial(within(t))
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	if err := exchange(c, n); err != nil {
		t.Error(err)
	}
}
