package oneshot

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

func TestAFreePlaceGoesToTheOwnerWithTheFewestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := newTurns(2)
		var got []string
		var held []func()
		for _, owner := range []string{"ann", "ann", "ann", "ann", "bob", "bob"} {
			go func() {
				release, err := places.take(t.Context(), owner)
				if err != nil {
					t.Error(err)
				}
				got, held = append(got, owner), append(held, release)
			}()
			synctest.Wait()
		}
		for i := 0; i < len(held); i++ {
			held[i]()
			synctest.Wait()
		}
		if want := []string{"ann", "ann", "bob", "ann", "bob", "ann"}; !slices.Equal(got, want) {
			t.Errorf("got the places in the order %q, want %q", got, want)
		}
	})
}

func TestAPlaceOfACallerThatLeftIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := newTurns(1)
		release, err := places.take(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			if _, err := places.take(ctx, "bob"); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the end of the context", err)
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		release()
		if places.free != 1 || len(places.held) > 0 || len(places.waiting) > 0 {
			t.Errorf("got %+v, want one free place", places)
		}
	})
}
