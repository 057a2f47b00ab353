// Package notes keeps a file current that shows what keeps changing, as the notebook of a session does.
// It refuses to know what is in the file.
package notes

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Notes keeps one file current. Writing happens beside the changes, not in their way: several in short
// order are one write, and whoever needs the file waits for it.
type Notes struct {
	put  func(context.Context) error
	log  *slog.Logger
	kick chan struct{} // capacity 1

	file sync.Mutex // one writer of the file at a time; taken before mu

	mu     sync.Mutex
	wanted int64 // changes so far
	have   int64 // changes that the file shows
}

// New returns notes that are written by put.
func New(put func(context.Context) error, log *slog.Logger) *Notes {
	return &Notes{put: put, log: log, kick: make(chan struct{}, 1)}
}

// Want asks for the file to be written, soon.
func (n *Notes) Want() {
	n.mu.Lock()
	n.wanted++
	n.mu.Unlock()
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// A write costs as much as the whole notebook, so a session of many short cells would spend its time
// on writing. After each write the next one waits restShare times as long as the last took, which
// bounds the cost to a fiftieth of one core, but never longer than maxRest.
const (
	restShare = 50
	maxRest   = 5 * time.Second
)

// Run writes when asked until the context ends.
func (n *Notes) Run(ctx context.Context) {
	for {
		select {
		case <-n.kick:
			begun := time.Now()
			if err := n.Flush(ctx); err != nil && ctx.Err() == nil {
				n.log.Error("writing the notebook", "err", err)
			}
			rest := time.NewTimer(min(restShare*time.Since(begun), maxRest))
			select {
			case <-rest.C:
			case <-ctx.Done():
				rest.Stop()
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
	upTo := n.wanted
	n.mu.Unlock()
	err := n.put(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.have = max(n.have, upTo)
	}
	return err
}

// Flush returns when the file shows everything up to now.
func (n *Notes) Flush(ctx context.Context) error {
	n.mu.Lock()
	current := n.have >= n.wanted
	n.mu.Unlock()
	if current {
		return nil
	}
	return n.Write(ctx)
}
