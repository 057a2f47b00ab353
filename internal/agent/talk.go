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
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
)

// takenWithin is how long the word that a cell was taken may wait for the cell's first events. A short
// cell then costs one write to the host instead of two, and an interrupt of a cell that has only just
// been sent is late by so much. Small cells take 4 to 10 ms.
const takenWithin = 20 * time.Millisecond

// errLongLine is the end of a connection whose host sends what no host sends.
var errLongLine = errors.New("a line that is too long")

// talk is one connection of the host on which a kernel's events go out and cells come in.
type talk struct {
	kernel *kernel
	due    chan struct{} // capacity 1: answers are to be written now

	mu      sync.Mutex
	answers []byte      // lines that have not been written
	timer   *time.Timer // ends their waiting; nil when there is none
}

// getTalk answers a request for events that asks for more than reading.
func getTalk(k *kernel, w http.ResponseWriter, after int64) {
	running, err := k.agent.running()
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
		k.log.Debug("the host's connection ended", "reason", t.listen(rw.Reader))
	})
	k.events().Follow(c, after, spool.Beside{Take: t.take, Due: t.due, Gone: ctx.Done()})
	// Closing a stream of the link ends one direction only.
	_ = c.SetReadDeadline(time.Unix(1, 0))
}

// switched tells the host that the connection speaks another protocol from here on.
func switched(c net.Conn, protocol string) error {
	_, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
	return err
}

// listen takes the cells that the host hands over, one a line, until it goes away.
func (t *talk) listen(r *bufio.Reader) error {
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		var e guestapi.Execute
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("a cell that cannot be read: %w", err)
		}
		fresh, err := t.kernel.execute(e)
		t.answer(e.Cell, fresh, err)
	}
}

// readLine reads one line of the host; it is valid until the next one.
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

// answer says what became of a cell: what was refused at once, what was taken soon.
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
	t.answers = append(append(t.answers, marshal(guestapi.TalkLine{Taken: &a})...), '\n')
	switch {
	case err != nil:
		t.now()
	case t.timer == nil:
		t.timer = time.AfterFunc(takenWithin, t.now)
	}
}

// now has the answers written.
func (t *talk) now() {
	select {
	case t.due <- struct{}{}:
	default:
	}
}

// take returns the answers that have not been written.
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
