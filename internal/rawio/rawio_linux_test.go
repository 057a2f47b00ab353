package rawio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pipes returns both ends of a pipe that does not block.
func pipes(t *testing.T) (r, w io.ReadWriteCloser) {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	var ends [2]io.ReadWriteCloser
	for i, fd := range fds {
		p, err := Pipe(os.NewFile(uintptr(fd), "pipe"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		ends[i] = p
	}
	return ends[0], ends[1]
}

// sockets returns both ends of a connection. Only the first end uses this package.
func sockets(t *testing.T) (ours net.Conn, theirs *net.UnixConn) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialled, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close() })
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	if ours, err = Conn(dialled.(*net.UnixConn)); err != nil {
		t.Fatal(err)
	}
	return ours, accepted.(*net.UnixConn)
}

func TestAWriteLargerThanAPipeArrivesCompletely(t *testing.T) {
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // sixteen times the capacity of a pipe
	r, w := pipes(t)
	ours, theirs := sockets(t)
	for name, end := range map[string]struct {
		r io.Reader
		w io.WriteCloser
	}{"pipe": {r, w}, "to a socket": {theirs, ours}} {
		t.Run(name, func(t *testing.T) {
			var wrote sync.WaitGroup
			wrote.Go(func() {
				if n, err := end.w.Write(sent); n != len(sent) || err != nil {
					t.Errorf("wrote %d bytes, %v; want %d", n, err, len(sent))
				}
				end.w.Close()
			})
			got, err := io.ReadAll(end.r)
			wrote.Wait()
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("read %d bytes, %v; want the %d sent bytes", len(got), err, len(sent))
			}
		})
	}
}

func TestAnAttemptToWriteDoesNotWait(t *testing.T) {
	ours, theirs := sockets(t)
	try := ours.(interface{ TryWrite([]byte) (int, error) }).TryWrite
	total := 0
	for {
		n, err := try(make([]byte, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break // the socket is full
		}
		total += n
	}
	if n, err := io.CopyN(io.Discard, theirs, int64(total)); err != nil {
		t.Fatalf("%d of %d bytes arrived: %v", n, total, err)
	}
	if n, err := try([]byte("more")); n != 4 || err != nil {
		t.Errorf("wrote %d of 4 bytes to an empty socket: %v", n, err)
	}
	theirs.Close()
	if _, err := try([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("an attempt to write to a closed reader: %v", err)
	}
}

func TestAReadReturnsTheAvailableDataAndTheEndOfTheConnection(t *testing.T) {
	ours, theirs := sockets(t)
	p := make([]byte, 100)
	for _, piece := range []string{"one", "two"} {
		var wrote sync.WaitGroup
		wrote.Go(func() { _, _ = theirs.Write([]byte(piece)) })
		if n, err := ours.Read(p); string(p[:n]) != piece || err != nil {
			t.Errorf("read %q, %v; want %q", p[:n], err, piece)
		}
		wrote.Wait()
	}
	theirs.Close()
	if n, err := ours.Read(p); n != 0 || err != io.EOF {
		t.Errorf("at the end: read %d bytes, %v; want 0, io.EOF", n, err)
	}
}

func TestAWaitingReadEndsAtItsDeadlineAndAtClose(t *testing.T) {
	ours, _ := sockets(t)
	if err := ours.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read with a past deadline: got %v, want os.ErrDeadlineExceeded", err)
	}
	r, _ := pipes(t)
	ended := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 1))
		ended <- err
	}()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read of a closed pipe: got %v, want os.ErrClosed", err)
	}
}

func TestAWriteToAClosedConnectionReturnsEPIPE(t *testing.T) {
	ours, theirs := sockets(t)
	theirs.Close()
	if _, err := ours.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write to a closed connection: got %v, want EPIPE", err)
	}
}

// A goroutine whose calls never wait must let other goroutines run, and must not delay data on other descriptors.
func TestEveryNthCallWithoutAWaitIsReportedToTheScheduler(t *testing.T) {
	var told int
	var row Row
	plain := func(int, []byte) (int, error) { told++; return 1, nil }
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	for range 10 * reportEvery {
		if _, err := row.call(plain, syscall.SYS_READ, int(zero.Fd()), make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if told != 10 {
		t.Errorf("%d of %d calls were reported to the scheduler, want 10", told, 10*reportEvery)
	}
	again := func(int, []byte) (int, error) { return 0, syscall.EAGAIN }
	row.calls = reportEvery - 1
	if _, err := row.call(again, syscall.SYS_READ, int(zero.Fd()), make([]byte, 1)); err != syscall.EAGAIN || row.calls != 0 {
		t.Errorf("a call that must wait: got %v and the row %d, want EAGAIN and 0", err, row.calls)
	}
	told = 0
	for range 10 * reportEvery {
		beginWait() // of another stream
		if _, err := row.call(plain, syscall.SYS_READ, int(zero.Fd()), make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if told != 0 {
		t.Errorf("%d calls were reported although another stream waited between them", told)
	}
}

func TestAStreamThatWaitsIsCounted(t *testing.T) {
	ours, theirs := sockets(t)
	waited := func() bool {
		before := waits.Load()
		err := ours.(*conn).stream.raw.Control(func(fd uintptr) {
			ours.(*conn).stream.into = make([]byte, 1)
			ours.(*conn).stream.read(fd)
		})
		if err != nil {
			t.Fatal(err)
		}
		return waits.Load() != before
	}
	if !waited() {
		t.Error("a read without data is no wait")
	}
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if waited() {
		t.Error("a read with data is a wait")
	}
}
