package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
)

// acceptDelay is how long the answer to an accepted cell can wait for the cell's first events. Then the
// answer and the events take one write to the host instead of two. A small cell takes 4 to 10 ms. The delay is short,
// because a caller that interrupts a cell right after its submission waits for this answer first.
const acceptDelay = 20 * time.Millisecond

// errLongLine is the reason to end a connection on which a line is longer than maxBody.
var errLongLine = errors.New("a line that is too long")

// talk is one connection of the host. The agent sends a kernel's events on it and receives cells.
type talk struct {
	kernel *kernels.Kernel
	due    chan struct{} // capacity 1: a token when the answers must be written now

	mu      sync.Mutex
	answers []byte      // lines that are not written yet
	timer   *time.Timer // ends the wait of accepted cells' answers; nil when none wait
}

// getTalk answers a request for events on a connection that also carries cells.
func (a *Agent) getTalk(k *kernels.Kernel, w http.ResponseWriter, after int64) {
	running, err := a.running()
	if err != nil {
		problem(w, err)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		problem(w, err)
		return
	}
	defer c.Close()
	if err := switched(c, guestapi.Talk); err != nil {
		return
	}
	ctx, cancel := context.WithCancel(running)
	defer cancel()
	t := &talk{kernel: k, due: make(chan struct{}, 1)}
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		defer cancel()
		a.options.Logger.Debug("the host's connection ended", "kernel", k.ID(), "reason", t.readCells(rw.Reader))
		_ = c.SetWriteDeadline(time.Unix(1, 0)) // ends a write to a host that has stopped reading
	})
	k.Events().Follow(c, after, spool.Extra{Take: t.take, Due: t.due, Gone: ctx.Done()})
	// The deadline ends readCells, because on a stream of the link Close does not end a read.
	_ = c.SetReadDeadline(time.Unix(1, 0))
}

// switched tells the host that the connection now uses another protocol.
func switched(c net.Conn, protocol string) error {
	_, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
	return err
}

// readCells submits the host's cells to the kernel, one per line. It returns when the host disconnects or a line
// is invalid.
func (t *talk) readCells(r *bufio.Reader) error {
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		var e guestapi.Execute
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("read a cell: %w", err)
		}
		fresh, err := t.kernel.Execute(e)
		t.answer(e.Cell, fresh, err)
	}
}

// readLine reads one line from the host. The line is valid until the next call.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := append([]byte(nil), line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(long) > maxBody {
			return nil, errLongLine
		}
		line, err = r.ReadSlice('\n')
		long = append(long, line...)
	}
	return long, err
}

// answer queues the answer to one cell. A refusal is written at once. An acceptance waits up to acceptDelay for
// events.
func (t *talk) answer(id cellhold.CellID, fresh bool, err error) {
	a := guestapi.Taken{Cell: id, Status: http.StatusOK}
	switch {
	case err != nil:
		a.Status, a.Error = refusal(err)
	case fresh:
		a.Status = http.StatusAccepted
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers = append(append(t.answers, spool.Encode(guestapi.TalkLine{Taken: &a})...), '\n')
	switch {
	case err != nil:
		t.writeNow()
	case t.timer == nil:
		t.timer = time.AfterFunc(acceptDelay, t.writeNow)
	}
}

// writeNow makes Follow write the waiting answers now.
func (t *talk) writeNow() {
	select {
	case t.due <- struct{}{}:
	default:
	}
}

// take removes and returns the answers that are not written yet.
func (t *talk) take() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	lines := t.answers
	t.answers = nil
	return lines
}
