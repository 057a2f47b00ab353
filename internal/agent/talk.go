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

// takenWithin is how long the answer for an accepted cell can wait for the cell's first events. A short
// cell then costs one write to the host instead of two. An interrupt right after the submission is delayed
// by this time. Small cells take 4 to 10 ms.
const takenWithin = 20 * time.Millisecond

// errLongLine ends a connection whose line no host would send.
var errLongLine = errors.New("a line that is too long")

// talk is one connection of the host on which a kernel's events are sent and cells are received.
type talk struct {
	kernel *kernels.Kernel
	due    chan struct{} // capacity 1: answers must be written now

	mu      sync.Mutex
	answers []byte      // lines that are not written yet
	timer   *time.Timer // ends the wait of the answers; nil when none wait
}

// getTalk answers a request for events that also wants to submit cells.
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
	ctx, gone := context.WithCancel(running)
	defer gone()
	t := &talk{kernel: k, due: make(chan struct{}, 1)}
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() {
		defer gone()
		a.options.Logger.Debug("the host's connection ended", "kernel", k.ID(), "reason", t.listen(rw.Reader))
	})
	k.Events().Follow(c, after, spool.Extra{Take: t.take, Due: t.due, Gone: ctx.Done()})
	// Close would end only one direction of a stream of the link.
	_ = c.SetReadDeadline(time.Unix(1, 0))
}

// switched tells the host that the connection now uses another protocol.
func switched(c net.Conn, protocol string) error {
	_, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
	return err
}

// listen accepts the cells that the host submits, one per line, until the host disconnects.
func (t *talk) listen(r *bufio.Reader) error {
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

// answer reports whether a cell was accepted. Refusals are written at once, acceptances can wait.
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
		t.now()
	case t.timer == nil:
		t.timer = time.AfterFunc(takenWithin, t.now)
	}
}

// now makes the answers be written.
func (t *talk) now() {
	select {
	case t.due <- struct{}{}:
	default:
	}
}

// take returns the answers that are not written yet.
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
