package jupyter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"cellhold/internal/memory"
)

// free reports whether no message has memory.
func (a *arrivals) free() bool {
	impatient := memory.WithPatience(context.Background(), 0)
	growing, err1 := a.growing.Take(impatient, growingBytes)
	whole, err2 := a.whole.Take(impatient, wholeBytes)
	growing.Release()
	whole.Release()
	return err1 == nil && err2 == nil
}

func TestLargeMessagesOfACallerArriveOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newArrivals()
		first, err := all.begin(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		if other, err := all.begin(t.Context(), "bob"); err != nil {
			t.Errorf("another caller: %v", err)
		} else {
			other.end()
		}
		begun := time.Now()
		if _, err := all.begin(t.Context(), "ann"); !errors.Is(err, errNoRoom) || time.Since(begun) != shareTime {
			t.Errorf("a second message: got %v after %s, want it refused after %s", err, time.Since(begun), shareTime)
		}
		next := make(chan error, 1)
		go func() {
			x, err := all.begin(t.Context(), "ann")
			x.end()
			next <- err
		}()
		synctest.Wait()
		first.end()
		if err := <-next; err != nil {
			t.Errorf("after the first one: %v", err)
		}
	})
}

func TestMessagesWithoutMemoryAreCompletedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newArrivals()
		begin := func(caller string) *arrival {
			x, err := all.begin(t.Context(), caller)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		var fill []*arrival // use all memory that grows
		for _, caller := range []string{"a", "b"} {
			x := begin(caller)
			if err := x.grow(t.Context(), growingBytes/copies/2); err != nil {
				t.Fatal(err)
			}
			fill = append(fill, x)
		}
		if err := fill[0].grow(t.Context(), maxMessage); err != nil { // this message gets the memory for a whole message
			t.Fatal(err)
		}
		third := begin("c")
		if err := third.grow(t.Context(), growingBytes/copies/2); err != nil { // the memory that the first message returned
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- third.grow(t.Context(), maxMessage) }()
		synctest.Wait()
		if len(done) > 0 {
			t.Error("two messages had the memory for a whole one")
		}
		fill[0].end()
		if err := <-done; err != nil {
			t.Error(err)
		}
		fill[1].end()
		third.complete(maxMessage / 2) // there is memory that grows again
		x := begin("d")
		if err := errors.Join(x.grow(t.Context(), growingBytes/copies-1<<20), x.grow(t.Context(), maxMessage)); err != nil {
			t.Error(err)
		}
		x.end()
		third.end()
		if !all.free() {
			t.Error("there is memory in use at the end")
		}
	})
}

// slow is a body that arrives at a constant rate, one piece after the other.
type slow struct {
	left  int
	every time.Duration // for each piece
	stop  context.Context
}

func (s *slow) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	s.left--
	select {
	case <-s.stop.Done():
		return 0, s.stop.Err()
	case <-time.After(s.every):
		return copy(p, bytes.Repeat([]byte("x"), piece)), nil
	}
}

func TestALargeMessageMustArriveAtAMinimumRate(t *testing.T) {
	enough := time.Duration(piece) * time.Second / slowRate
	for every, want := range map[time.Duration]error{enough: nil, enough * 2: context.Canceled} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			x, err := newArrivals().begin(ctx, "ann")
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			_, err = x.read(ctx, nil, &slow{left: 100, every: every, stop: ctx}, cancel)
			if took := time.Since(begun); !errors.Is(err, want) || want != nil && (took < slowStart || took > 3*slowStart) {
				t.Errorf("a piece in %s: got %v after %s, want %v", every, err, took, want)
			}
		})
	}
}
