package files

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/agent/files/notify"
	"cellhold/internal/guestapi"
	"cellhold/internal/pause"
)

const (
	// maxDirs and maxEntries bound the directories of one watch, and the entries in them at its beginning. The watch
	// reads all of them before it is ready, which takes some seconds.
	maxDirs    = 10_000
	maxEntries = 100_000
	// gather is the time in which changes of one path become one change. A file that is written in many
	// steps is one change, and the delay is too short to notice.
	gather = 50 * time.Millisecond
	// maxGathered bounds the changes that are reported at once. More changes are an overflow.
	maxGathered = 4096
)

// watch reports changes until the reader disconnects.
func (h *handler) watch(w http.ResponseWriter, r *http.Request) error {
	p, err := h.path(r, "path")
	if err != nil {
		return err
	}
	dir, err := openDir(p) // its error is clearer than the error of inotify
	if err != nil {
		return err
	}
	dir.Close()
	from, err := notify.New(notify.Options{
		Dir: p, Deep: r.URL.Query().Get("recursive") == "true", MaxDirs: maxDirs, MaxEntries: maxEntries, Ignore: tempPrefix,
	})
	if err != nil {
		return watchError(err)
	}
	if err := from.Missed(); err != nil {
		from.Close()
		return watchError(err)
	}
	t := &reporter{w: w, out: http.NewResponseController(w), base: p, from: from}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if t.beat() == nil {
		t.run(r.Context())
	}
	return nil
}

// watchError explains why a directory cannot be watched.
func watchError(err error) error {
	const remedy = "Watch a directory below it, or watch without recursive."
	switch {
	case errors.Is(err, notify.ErrDirs):
		return cellhold.Wrap(cellhold.Exhausted, err, "A recursive watch is limited to %d directories, and there are more. "+remedy, maxDirs)
	case errors.Is(err, notify.ErrEntries):
		return cellhold.Wrap(cellhold.Exhausted, err, "A recursive watch is limited to %d files and directories, and there are more. "+remedy, maxEntries)
	case errors.Is(err, notify.ErrDepth):
		return cellhold.Wrap(cellhold.Exhausted, err, "A recursive watch is limited to a depth of %d directories, and the directory is deeper. "+remedy, notify.MaxDepth)
	case isErrno(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC):
		return cellhold.Wrap(cellhold.Exhausted, err, "The session has too many watches. End one of them first.")
	}
	return err
}

// reporter writes the changes of one watch.
type reporter struct {
	w    http.ResponseWriter
	out  *http.ResponseController
	base string
	from *notify.Watcher
}

// run reports changes until the context ends or a write fails. It waits for changes on a separate goroutine,
// because only a close of the watcher ends the wait.
func (t *reporter) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	ready, next := make(chan struct{}), make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		defer close(ready)
		for t.from.Wait() == nil {
			select {
			case ready <- struct{}{}:
			case <-ctx.Done():
				return
			}
			select {
			case <-next:
			case <-ctx.Done():
				return
			}
		}
	})
	defer waiting.Wait()
	defer t.from.Close()
	defer cancel()
	beat := time.NewTicker(guestapi.WatchBeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			if t.beat() != nil {
				return
			}
		case _, ok := <-ready:
			if !ok || !pause.For(ctx, gather) || t.report() != nil {
				return
			}
			select {
			case next <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// beat writes an empty line, which shows the host that the watch works.
func (t *reporter) beat() error {
	if _, err := t.w.Write([]byte("\n")); err != nil {
		return err
	}
	return t.out.Flush()
}

// report writes the changes. When a directory cannot be watched, report returns an error after them, and the watch
// ends. A later watch then gets the reason.
func (t *reporter) report() error {
	changes, err := t.from.Read()
	if err == nil && slices.Contains(changes, notify.Change{Op: notify.Overflow}) {
		err = t.from.Rescan() // before the reader learns of the overflow, so that nothing is missed after its list
	}
	if err != nil {
		return err
	}
	enc := json.NewEncoder(t.w)
	for _, c := range merged(changes) {
		line := guestapi.Change{Type: changeTypes[c.Op], Dir: c.Dir}
		if c.Op != notify.Overflow {
			line.Path = cellhold.EscapePath(path.Join(t.base, c.Path))
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return errors.Join(t.out.Flush(), t.from.Missed())
}

// changeTypes has the names of the changes in the protocol.
var changeTypes = map[notify.Op]string{
	notify.Created: "created", notify.Modified: "modified", notify.Removed: "removed", notify.Overflow: "overflow",
}

// merged replaces the changes of each path by one change: the difference between the states before the first and
// after the last change. A path that was created and removed is reported as removed.
func merged(changes []notify.Change) []notify.Change {
	type position struct{ at, first int } // index in out, and first change of the path
	seen := make(map[string]position, len(changes))
	var out []notify.Change
	for _, c := range changes {
		f, known := seen[c.Path]
		if !known || c.Op == notify.Overflow {
			if len(out) == maxGathered {
				return []notify.Change{{Op: notify.Overflow}}
			}
			seen[c.Path] = position{len(out), int(c.Op)}
			out = append(out, c)
			continue
		}
		last := &out[f.at]
		switch {
		case notify.Op(f.first) == notify.Created && c.Op == notify.Removed:
			last.Op = notify.Removed
		case notify.Op(f.first) == notify.Created:
			last.Op = notify.Created
		case notify.Op(f.first) == notify.Removed && c.Op != notify.Removed:
			last.Op = notify.Modified // another entry replaced it
		default:
			last.Op = c.Op
		}
		last.Dir = c.Dir
	}
	return out
}
