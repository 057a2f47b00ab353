package jupyter

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"cellhold/internal/exclusive"
	"cellhold/internal/memory"
)

const (
	// copies is the number of copies of an arriving message in memory: its pieces, and the joined message.
	copies = 2
	// growingBytes is the memory for all large messages that arrive. wholeBytes is further memory, for one message of
	// any size.
	growingBytes = 64 << 20
	wholeBytes   = copies * maxMessage
	// shareTime limits each wait of a large message: for its turn, and for memory.
	shareTime = 5 * time.Minute
)

// arrivals bounds the large messages that clients send. Each caller has one at a time. The memory of a message grows
// with the part that has arrived. So a slow message takes little memory. If this memory is used up, the messages get
// the memory for a whole message one after the other. So they wait for each other, and each message arrives.
type arrivals struct {
	turns   exclusive.Keys
	growing *memory.Budget
	whole   *memory.Budget
}

func newArrivals() *arrivals {
	return &arrivals{growing: memory.New(growingBytes), whole: memory.New(wholeBytes)}
}

// arrival is the memory of one large message.
type arrival struct {
	of    *arrivals
	leave func()        // ends the caller's turn
	share *memory.Share // grows with the message
	whole *memory.Share // for a whole message; nil while share is large enough
}

// begin waits until no other large message of the caller is in memory. The caller must call end.
func (a *arrivals) begin(ctx context.Context, caller string) (*arrival, error) {
	ctx, cancel := context.WithTimeout(ctx, shareTime)
	defer cancel()
	leave, err := a.turns.Hold(ctx, caller)
	if err != nil {
		return nil, errors.Join(errNoRoom, err)
	}
	return &arrival{of: a, leave: leave, share: a.growing.Empty()}, nil
}

// grow takes the memory for a message of n bytes. It can wait.
func (a *arrival) grow(ctx context.Context, n int) (err error) {
	if a.whole != nil || a.share.Resize(copies*int64(n)) {
		return nil
	}
	a.whole, err = a.of.whole.Take(memory.WithPatience(ctx, shareTime), wholeBytes)
	if err != nil {
		return errors.Join(errNoRoom, err)
	}
	a.share.Release()
	return nil
}

// read reads the rest of a message after its beginning. It joins the pieces only at the end, so that at most two copies
// are in memory. read calls abort if the reads of body take too long. The waits for memory do not count.
func (a *arrival) read(ctx context.Context, beginning []byte, body io.Reader, abort func()) ([]byte, error) {
	pieces, size, left := [][]byte{beginning}, len(beginning), slowStart
	for {
		if err := a.grow(ctx, size+piece); err != nil {
			return nil, err
		}
		begun, late := time.Now(), time.AfterFunc(left, abort)
		next := make([]byte, piece)
		n, err := io.ReadFull(body, next)
		late.Stop()
		left += time.Duration(n)*time.Second/slowRate - time.Since(begun)
		pieces, size = append(pieces, next[:n]), size+n
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			message := slices.Concat(pieces...)
			a.complete(size)
			return message, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// complete returns the memory that a message of n bytes does not need.
func (a *arrival) complete(n int) {
	if a.share.Resize(copies * int64(n)) {
		a.whole.Release()
	}
}

// end returns the memory, and ends the turn. A nil arrival has no memory and no turn.
func (a *arrival) end() {
	if a != nil {
		a.share.Release()
		a.whole.Release()
		a.leave()
	}
}
