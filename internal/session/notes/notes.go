// Package notes updates a file whose content changes often, such as the notebook of a session. It does not
// know the content.
package notes

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Notes updates one file in the background. Several changes in a short time cause one write. A caller that
// needs the file can wait for it with Flush.
type Notes struct {
	put  func(context.Context) error
	log  *slog.Logger
	wake chan struct{} // capacity 1

	file sync.Mutex // held by the writer of the file; locked before mu

	mu        sync.Mutex
	requested int64 // number of changes so far
	written   int64 // number of changes that the file has
}

// New returns notes for the file that put writes.
func New(put func(context.Context) error, log *slog.Logger) *Notes {
	return &Notes{put: put, log: log, wake: make(chan struct{}, 1)}
}

// Changed requests a write of the file.
func (n *Notes) Changed() {
	n.mu.Lock()
	n.requested++
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// A write takes time in proportion to the whole notebook. So a session of many short cells would spend its time on
// writes. After each write, Run pauses for pauseFactor times the duration of the write, at least minPause and at most
// maxPause. So Run writes at most once in a second. Writes of up to 100 ms cost at most a fiftieth of one core. The cost
// of longer writes is higher, because of maxPause.
const (
	pauseFactor = 50
	minPause    = time.Second
	maxPause    = 5 * time.Second
)

// Run writes the file on request until ctx ends.
func (n *Notes) Run(ctx context.Context) {
	for {
		select {
		case <-n.wake:
			begun := time.Now()
			if err := n.Flush(ctx); err != nil && ctx.Err() == nil {
				n.log.Error("writing the notebook", "err", err)
			}
			pause := time.NewTimer(min(max(pauseFactor*time.Since(begun), minPause), maxPause))
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// Write writes the file now.
func (n *Notes) Write(ctx context.Context) error {
	n.file.Lock()
	defer n.file.Unlock()
	n.mu.Lock()
	upTo := n.requested
	n.mu.Unlock()
	err := n.put(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.written = max(n.written, upTo)
	}
	return err
}

// Flush returns when the file has all changes up to now.
func (n *Notes) Flush(ctx context.Context) error {
	n.mu.Lock()
	current := n.written >= n.requested
	n.mu.Unlock()
	if current {
		return nil
	}
	return n.Write(ctx)
}
