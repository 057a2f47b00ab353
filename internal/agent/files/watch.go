package files

import (
	"context"
	"encoding/json"
	"net/http"
	"path"
	"sync"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/agent/files/notify"
	"cellhold/internal/guestapi"
)

const (
	// maxWatched bounds the directories of one watch: more than a project without its dependencies has.
	maxWatched = 4096
	// gather is how long changes of one path are gathered into one: a file that is written in many
	// steps is one change, and people still call it at once.
	gather = 50 * time.Millisecond
	// maxGathered bounds the changes that are told in one go; more is an overflow.
	maxGathered = 4096
)

// watch tells what changes until the reader goes away.
func (h *handler) watch(w http.ResponseWriter, r *http.Request) error {
	p, err := h.path(r, "path")
	if err != nil {
		return err
	}
	dir, err := openDir(p) // tells better than inotify what is wrong
	if err != nil {
		return err
	}
	dir.Close()
	from, err := notify.New(notify.Options{
		Dir: p, Deep: r.URL.Query().Get("recursive") == "true", MaxDirs: maxWatched, Ignore: temporary,
	})
	if isErrno(err, syscall.EMFILE, syscall.ENOSPC) {
		return cellhold.Wrap(cellhold.Exhausted, err, "There are too many watches in this session.")
	}
	if err != nil {
		return err
	}
	t := &teller{w: w, out: http.NewResponseController(w), base: p, from: from}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if t.beat() == nil {
		t.run(r.Context())
	}
	return nil
}

// teller writes the changes of one watch.
type teller struct {
	w    http.ResponseWriter
	out  *http.ResponseController
	base string
	from *notify.Watcher
}

// run waits on a goroutine of its own, because only closing the watcher ends its waiting.
func (t *teller) run(ctx context.Context) {
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
			if !ok || !pause(ctx, gather) || t.tell() != nil {
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

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// beat shows that the watch lives.
func (t *teller) beat() error {
	if _, err := t.w.Write([]byte("\n")); err != nil {
		return err
	}
	return t.out.Flush()
}

func (t *teller) tell() error {
	changes, err := t.from.Read()
	if err != nil {
		return err
	}
	enc := json.NewEncoder(t.w)
	for _, c := range merged(changes) {
		line := guestapi.Change{Type: words[c.Op], Dir: c.Dir}
		if c.Op != notify.Overflow {
			line.Path = cellhold.EscapePath(path.Join(t.base, c.Path))
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return t.out.Flush()
}

var words = map[notify.Op]string{
	notify.Created: "created", notify.Modified: "modified", notify.Removed: "removed", notify.Overflow: "overflow",
}

// merged makes one change of all changes of a path: what a reader that looked before and looks now
// would find.
func merged(changes []notify.Change) []notify.Change {
	type fate struct{ at, first int }
	seen := make(map[string]fate, len(changes))
	var out []notify.Change
	for _, c := range changes {
		f, known := seen[c.Path]
		if !known || c.Op == notify.Overflow {
			if len(out) == maxGathered {
				return []notify.Change{{Op: notify.Overflow}}
			}
			seen[c.Path] = fate{len(out), int(c.Op)}
			out = append(out, c)
			continue
		}
		last := &out[f.at]
		switch {
		case notify.Op(f.first) == notify.Created && c.Op == notify.Removed:
			last.Op = notify.Removed // it came and went
		case notify.Op(f.first) == notify.Created:
			last.Op = notify.Created
		case notify.Op(f.first) == notify.Removed && c.Op != notify.Removed:
			last.Op = notify.Modified // there is another one in its place
		default:
			last.Op = c.Op
		}
		last.Dir = c.Dir
	}
	return out
}
