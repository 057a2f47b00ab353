package guest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// talk is the connection on which a kernel's events arrive. Cells are submitted on it too. A separate
// request for each cell takes more time than the rest of a short cell.
type talk struct {
	kernel *Kernel
	conn   net.Conn
	stop   func() bool   // stops the context from ending the connection
	gone   chan struct{} // closed when the connection is no longer read
	read   atomic.Bool   // true while the caller of Events waits for the next line, so that answers are read

	write sync.Mutex // held while one line is written

	mu      sync.Mutex
	waiting map[cellhold.CellID]chan guestapi.Taken // capacity 1
}

// listen asks for the events after a number. The caller must read them from the returned reader, and end
// the talk.
func (k *Kernel) listen(ctx context.Context, after int64) (*talk, io.Reader, error) {
	conn, err := k.client.dial(ctx)
	if err != nil {
		return nil, nil, noAnswer(ctx, err)
	}
	t := &talk{kernel: k, conn: conn, gone: make(chan struct{}), waiting: map[cellhold.CellID]chan guestapi.Taken{}}
	// Close would end only one direction of a stream of the link. The deadline ends a read that waits.
	t.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	resp, stream, err := upgrade(conn, http.MethodGet, k.path+"/events?"+number("after", after).Encode(), guestapi.Talk)
	switch {
	case err != nil || ctx.Err() != nil: // upgrade has changed the deadline
		t.end()
		return nil, nil, noAnswer(ctx, err)
	case resp.StatusCode == http.StatusSwitchingProtocols:
		k.mu.Lock()
		k.talk = t
		k.mu.Unlock()
		return t, stream, nil
	case resp.StatusCode == http.StatusOK: // an older agent, which accepts each cell only in a request
		return t, resp.Body, nil
	}
	defer t.end()
	return nil, nil, problem(resp)
}

// noAnswer returns the error of a connection that failed.
func noAnswer(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The sandbox does not answer.")
}

// end closes the connection.
func (t *talk) end() {
	t.stop()
	t.kernel.mu.Lock()
	if t.kernel.talk == t {
		t.kernel.talk = nil
	}
	t.kernel.mu.Unlock()
	close(t.gone)
	_ = t.conn.SetDeadline(time.Unix(1, 0))
	_ = t.conn.Close()
}

// talking returns the connection on which a cell can be submitted now. It is nil if there is none. It is
// also nil while the reader of the events handles an event, because then no goroutine reads the answer.
func (k *Kernel) talking() *talk {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.talk == nil || !k.talk.read.Load() {
		return nil
	}
	return k.talk
}

// execute submits a cell and waits for the answer.
func (t *talk) execute(ctx context.Context, r guestapi.Execute) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	taken := make(chan guestapi.Taken, 1)
	t.expect(r.Cell, taken)
	defer t.expect(r.Cell, nil)
	if err := t.send(append(line, '\n')); err != nil {
		return noAnswer(ctx, err)
	}
	select {
	case a := <-taken:
		if a.Status/100 == 2 {
			return nil
		}
		return refused(a.Status, a.Error)
	case <-t.gone:
		return cellhold.Wrap(cellhold.Unavailable, errors.New("connection closed"), "The link to the sandbox broke.")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// expect records the channel for the answer to a cell; nil removes it.
func (t *talk) expect(id cellhold.CellID, taken chan guestapi.Taken) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if taken == nil {
		delete(t.waiting, id)
		return
	}
	t.waiting[id] = taken
}

// send writes one line. If the write fails, send ends the connection, because a part of the line can be sent.
func (t *talk) send(line []byte) error {
	t.write.Lock()
	defer t.write.Unlock()
	_ = t.conn.SetWriteDeadline(time.Now().Add(callTimeout))
	_, err := t.conn.Write(line)
	if err != nil {
		_ = t.conn.SetDeadline(time.Unix(1, 0)) // ends the read of the events, whose reader then closes the connection
	}
	return err
}

// hear passes on the answer to a cell. It skips invalid lines, and answers that no caller expects.
func (t *talk) hear(line []byte) {
	var l guestapi.TalkLine
	if len(line) > maxProblem || json.Unmarshal(line, &l) != nil || l.Taken == nil {
		t.kernel.client.log.Debug("skipped a line of the guest", "kernel", t.kernel.id)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if taken := t.waiting[l.Taken.Cell]; taken != nil {
		delete(t.waiting, l.Taken.Cell)
		taken <- *l.Taken // does not block: the channel has a buffer, and there is one answer
	}
}
