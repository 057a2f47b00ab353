package memory

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
)

func TestSharesAreGivenInOrderAndReturnToTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100)
		first, err := b.Take(t.Context(), 60)
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan int64, 3)
		take := func(n int64) {
			s, err := b.Take(t.Context(), n)
			if err != nil {
				t.Error(err)
			}
			order <- n
			s.Release()
			s.Release()
		}
		for _, n := range []int64{500, 50, 10} { // 500 is more than the budget, so it gets all of it
			go take(n)
			synctest.Wait()
		}
		first.Shrink(20)
		synctest.Wait()
		if len(order) != 0 {
			t.Fatal("a share was given before its bytes were free, or before an earlier request")
		}
		first.Release()
		synctest.Wait()
		if got := []int64{<-order, <-order, <-order}; got[0] != 500 || b.free != 100 {
			t.Errorf("shares were given in the order %v and %d bytes are free at the end, want 500 first and 100 free", got, b.free)
		}
	})
}

func TestARequestThatEndsWhileItWaitsTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100)
		all, err := b.Take(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_, err = b.Take(WithPatience(t.Context(), time.Minute), 1)
		if cellhold.KindOf(err) != cellhold.Unavailable || time.Since(begun) != time.Minute {
			t.Errorf("got %v after %s, want Unavailable after a minute", err, time.Since(begun))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Take(ctx, 100); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		all.Release()
		if s, err := b.Take(t.Context(), 100); err != nil || s.n != 100 {
			t.Errorf("after the release: got %v, %v, want the whole budget", s, err)
		}
	})
}

func TestDetachedWorkHasNeitherTheEndNorThePatienceOfItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100)
		all, err := b.Take(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		caller, cancel := context.WithCancel(WithPatience(t.Context(), time.Minute))
		ctx := Detach(caller)
		if HasPatience(ctx) || !HasPatience(caller) {
			t.Error("detached work has the patience of its caller")
		}
		cancel()
		time.AfterFunc(time.Hour, all.Release)
		if _, err := b.Take(ctx, 1); err != nil {
			t.Errorf("Take: got %v, want a share after an hour", err)
		}
	})
}

func TestAShareIsResizedWithoutAWait(t *testing.T) {
	b := New(100)
	s, other := b.Empty(), b.Empty()
	for _, step := range []struct {
		share *Share
		n     int64
		want  bool
	}{{s, 60, true}, {other, 50, false}, {other, 40, true}, {s, 61, false}, {s, 10, true}, {other, 90, true}, {other, 0, true}, {s, 100, true}} {
		if got := step.share.Resize(step.n); got != step.want {
			t.Errorf("Resize(%d): got %t, want %t", step.n, got, step.want)
		}
	}
}
