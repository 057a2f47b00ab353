package notes

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// file is a file that stores when it was written.
type file struct {
	begun time.Time
	took  time.Duration // duration of one write

	mu     sync.Mutex
	writes []time.Duration // since begun
}

func (f *file) put(context.Context) error {
	<-time.After(f.took)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes = append(f.writes, time.Since(f.begun))
	return nil
}

// written checks at which times the file was written.
func (f *file) written(t *testing.T, want ...time.Duration) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.writes, want) {
		t.Errorf("the file was written after %v, want %v", f.writes, want)
	}
}

// withNotes runs a test with the fake clock. The notes run until the test returns.
func withNotes(t *testing.T, took time.Duration, test func(*testing.T, *Notes, *file)) {
	synctest.Test(t, func(t *testing.T) {
		f := &file{begun: time.Now(), took: took}
		n := New(f.put, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { n.Run(ctx) })
		test(t, n, f)
		cancel()
		ended := time.Now()
		run.Wait()
		if d := time.Since(ended); d != 0 {
			t.Errorf("Run ended %s after its context", d)
		}
	})
}

// wait advances the fake clock, until all goroutines wait.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestTheFirstOfManyChangesIsWrittenAtOnceAndTheRestOnceASecond(t *testing.T) {
	withNotes(t, 0, func(t *testing.T, n *Notes, f *file) {
		for range 250 { // changes for 2.5 seconds
			n.Changed()
			wait(10 * time.Millisecond)
		}
		wait(time.Minute)
		f.written(t, 0, time.Second, 2*time.Second, 3*time.Second)
	})
}

func TestALongNotebookIsWrittenLessOften(t *testing.T) {
	withNotes(t, 60*time.Millisecond, func(t *testing.T, n *Notes, f *file) {
		n.Changed()
		wait(100 * time.Millisecond)
		n.Changed()
		wait(time.Minute)
		f.written(t, 60*time.Millisecond, 3120*time.Millisecond) // the pause took 50 times as long as the write
	})
}

func TestAReaderGetsTheFileWithTheLastChangeAtOnce(t *testing.T) {
	withNotes(t, 0, func(t *testing.T, n *Notes, f *file) {
		n.Changed()
		wait(10 * time.Millisecond)
		n.Changed()
		for range 2 { // the second reader finds the file up to date
			if err := n.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		f.written(t, 0, 10*time.Millisecond)
		wait(time.Minute)
		f.written(t, 0, 10*time.Millisecond)
	})
}
