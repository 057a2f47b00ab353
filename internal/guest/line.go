package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/memory"
)

const (
	// smallLine is the length of an event in bytes up to which it needs no share of the budget.
	smallLine = 256 << 10
	// largeEvents is the number of large events of all sandboxes that can be in memory at the same time, before they are
	// in the journal.
	largeEvents = 3
	// slowStart and slowRate bound the time in which a large event must arrive. Otherwise a guest that sends half an
	// event could keep its share.
	slowStart = 5 * time.Second
	slowRate  = 256 << 10 // bytes in a second
)

var (
	// arriving is the budget for the large events of all sandboxes.
	arriving = memory.New(largeEvents * guestapi.MaxEvent)
	// decoding has capacity 1. It is held while a large event is decoded, which takes its size several times.
	decoding = make(chan struct{}, 1)
)

// place is what a large event needs: the place of its sandbox, so that one sandbox cannot use the whole budget, and then a
// share of the budget.
type place struct {
	sandbox <-chan struct{}
	share   *memory.Share
}

// takePlace waits for a place. The caller must leave it.
func (c *Client) takePlace(ctx context.Context) (*place, error) {
	select {
	case c.large <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	share, err := arriving.Take(ctx, guestapi.MaxEvent)
	if err != nil {
		<-c.large
		return nil, err
	}
	return &place{c.large, share}, nil
}

// leave gives the place back. It can be called twice, and for no place.
func (p *place) leave() {
	if p == nil || p.share == nil {
		return
	}
	p.share.Release()
	p.share = nil
	<-p.sandbox
}

// eventLine is the line of one event. The caller must release it. The text is valid until then, and until the next read.
type eventLine struct {
	text  []byte
	whole bool   // false if the line was too long: text is its beginning
	place *place // nil for a small event, and for a line that was too long
}

func (l eventLine) release() { l.place.leave() }

// parse checks the line: see eventSource.parse.
func (l *eventLine) parse(ctx context.Context, after int64) (guestapi.Event, error) {
	if l.place == nil {
		return kernelEvents.parse(l.text, l.whole, after)
	}
	select {
	case decoding <- struct{}{}:
		defer func() { <-decoding }()
	case <-ctx.Done():
		return guestapi.Event{}, context.Cause(ctx)
	}
	e, err := kernelEvents.parse(l.text, l.whole, after)
	l.text = nil // the event has a copy
	return e, err
}

// eventReader reads the lines of a kernel's events.
type eventReader struct {
	client *Client
	conn   net.Conn
	lines  *bufio.Reader
	large  func() // called before the wait for the place of a large event
}

// next reads the line of one event. For a large event it first takes a place.
func (r *eventReader) next(ctx context.Context) (eventLine, error) {
	var start []byte
	for len(start) <= smallLine {
		part, err := r.lines.ReadSlice('\n')
		if err == nil && start == nil {
			return eventLine{text: part, whole: true}, nil
		}
		start = append(start, part...)
		if err == nil {
			return eventLine{text: start, whole: true}, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return eventLine{}, lineError(err)
		}
	}
	r.large()
	place, err := r.client.takePlace(ctx)
	if err != nil {
		return eventLine{}, err
	}
	text, whole, err := r.rest(ctx, append(make([]byte, 0, guestapi.MaxEvent), start...), place)
	if err != nil || !whole {
		place.leave()
		return eventLine{text: text}, err
	}
	return eventLine{text, whole, place}, nil
}

// rest reads the rest of a line into the free space of text. If the line is longer, it leaves the place at once and returns
// only the beginning, and whole is false. The line must arrive at slowRate.
func (r *eventReader) rest(ctx context.Context, text []byte, place *place) (line []byte, whole bool, err error) {
	begun, before := time.Now(), len(text)
	size, limit := before, cap(text)
	for {
		err := setReadDeadline(ctx, r.conn, begun.Add(slowStart+time.Duration(size-before)*time.Second/slowRate))
		if err != nil {
			return nil, false, err
		}
		part, err := r.lines.ReadSlice('\n')
		switch size += len(part); {
		case size <= limit:
			text = append(text, part...)
		case size > maxSkipped*limit:
			return nil, false, invalidForm("an event without an end")
		case len(text) > guestapi.MaxHead:
			text = bytes.Clone(text[:guestapi.MaxHead])
			place.leave()
		}
		if err == nil {
			return text, size <= limit, setReadDeadline(ctx, r.conn, time.Time{})
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, lineError(err)
		}
	}
}

// setReadDeadline sets the deadline of a connection whose reads end with ctx. It fails if ctx has ended: the deadline
// that ends the reads can be lost then.
func setReadDeadline(ctx context.Context, conn net.Conn, t time.Time) error {
	if err := conn.SetReadDeadline(t); err != nil {
		return lineError(err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// lineError returns the error of a line that did not arrive.
func lineError(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return invalidData("a large event too slowly")
	case errors.Is(err, io.EOF):
		return cellhold.Wrap(cellhold.Unavailable, err, "The sandbox ended the events.")
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The link to the sandbox broke.")
}
