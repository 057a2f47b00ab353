package envd

import (
	"cmp"
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/server/envd/filesystempb"
	"cellhold/internal/session"
)

const (
	// maxWatchers is the maximum number of polled watches of one session. maxPolled is the maximum number of the events that
	// one of them keeps, and maxPolledNames that of the bytes of their names.
	maxWatchers    = 16
	maxPolled      = 10_000
	maxPolledNames = 1 << 20
	// endedTime is the time that a watch which has ended is kept, so that its client can read the last events and the reason.
	endedTime = 2 * time.Minute
)

// watchers are the watches whose events a client polls.
type watchers struct {
	mu     sync.Mutex
	byID   map[string]*watcher
	closed bool
	work   sync.WaitGroup // counts the goroutines of watchers
}

// watcher keeps the events of one watch. The lock of watchers guards it.
type watcher struct {
	id      string
	session cellhold.SessionID
	cancel  context.CancelFunc
	events  []*filesystempb.FilesystemEvent
	names   int   // bytes of the names in events
	err     error // why the watch has ended; nil while it runs
}

// add adds a watcher. The caller must start it with a goroutine that calls work.Done at its end.
func (w *watchers) add(session cellhold.SessionID, cancel context.CancelFunc) (*watcher, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	count := 0
	for _, x := range w.byID {
		if x.session == session {
			count++
		}
	}
	switch {
	case w.closed:
		return nil, cellhold.Errorf(cellhold.Unavailable, "The server is shutting down.")
	case count >= maxWatchers:
		return nil, cellhold.Errorf(cellhold.Exhausted, "The limit of %d watches is reached: remove one first.", maxWatchers)
	case w.byID == nil:
		w.byID = map[string]*watcher{}
	}
	x := &watcher{id: strings.ToLower(rand.Text()), session: session, cancel: cancel}
	w.byID[x.id] = x
	w.work.Add(1) // under the lock, so that close cannot miss it
	return x, nil
}

// find returns a watcher of a session. The caller must hold the lock.
func (w *watchers) find(session cellhold.SessionID, id string) (*watcher, error) {
	if x := w.byID[id]; x != nil && x.session == session {
		return x, nil
	}
	return nil, cellhold.Errorf(cellhold.NotFound, "Watcher %.40q not found.", id)
}

// keep adds an event to a watcher.
func (w *watchers) keep(x *watcher, e *filesystempb.FilesystemEvent) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(x.events) >= maxPolled || x.names+len(e.GetName()) > maxPolledNames {
		return errMissed
	}
	x.events, x.names = append(x.events, e), x.names+len(e.GetName())
	return nil
}

// end records why a watch has ended.
func (w *watchers) end(x *watcher, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x.err = cmp.Or(why, errEnded)
}

// remove removes a watcher and ends its watch.
func (w *watchers) remove(x *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x.cancel()
	delete(w.byID, x.id)
}

// poll returns the new events of a watcher. If the watch has ended and there are no more events, it returns the reason and
// removes the watcher.
func (w *watchers) poll(session cellhold.SessionID, id string) ([]*filesystempb.FilesystemEvent, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, err := w.find(session, id)
	if err != nil {
		return nil, err
	}
	if len(x.events) == 0 && x.err != nil {
		x.cancel()
		delete(w.byID, id)
		return nil, x.err
	}
	events := x.events
	x.events, x.names = nil, 0
	return events, nil
}

// close ends all watchers and waits for them.
func (w *watchers) close() {
	w.mu.Lock()
	w.closed = true
	for _, x := range w.byID {
		x.cancel()
	}
	w.mu.Unlock()
	w.work.Wait()
}

// errEnded is the error of a watch that ended without another one.
var errEnded error = cellhold.Errorf(cellhold.Unavailable, "The watch has ended: watch the directory again.")

// createWatcher starts a watch that outlives the request. It ends with RemoveWatcher, the sandbox or the server.
func (s *Server) createWatcher(ctx context.Context, c *call, in *filesystempb.CreateWatcherRequest) (*filesystempb.CreateWatcherResponse, error) {
	if err := checkWatch(in.GetIncludeEntry(), in.GetAllowNetworkMounts()); err != nil {
		return nil, err
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	kept, err := s.watchers.add(c.session.ID(), cancel)
	if err != nil {
		cancel()
		return nil, err
	}
	x := &watch{dir: absolute(in.GetPath()), recursive: in.GetRecursive()}
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() { // close waits for it
		defer s.watchers.work.Done()
		defer s.watchers.remove(kept)
		err := x.run(watching, c.session, func() error { close(begun); return nil }, func(e *filesystempb.FilesystemEvent) error {
			return s.watchers.keep(kept, e)
		})
		s.watchers.end(kept, err)
		ended <- cmp.Or(err, errEnded)
		linger(watching, c.session)
	}()
	select {
	case <-begun:
		return &filesystempb.CreateWatcherResponse{WatcherId: kept.id}, nil
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	cancel()
	return nil, err
}

// linger waits until the client of an ended watch had the time to read its end. The watchers of an ended session have no
// client.
func linger(ctx context.Context, of *session.Session) {
	if of.Record().State == cellhold.SessionEnded {
		return
	}
	late := time.NewTimer(endedTime)
	defer late.Stop()
	select {
	case <-ctx.Done():
	case <-late.C:
	}
}

func (s *Server) getWatcherEvents(ctx context.Context, c *call, in *filesystempb.GetWatcherEventsRequest) (*filesystempb.GetWatcherEventsResponse, error) {
	if _, leave, err := c.session.Enter(ctx); err == nil { // a session whose watch is polled is in use; the watcher knows its own end
		leave()
	}
	events, err := s.watchers.poll(c.session.ID(), in.GetWatcherId())
	if err != nil {
		return nil, err
	}
	return &filesystempb.GetWatcherEventsResponse{Events: events}, nil
}

func (s *Server) removeWatcher(_ context.Context, c *call, in *filesystempb.RemoveWatcherRequest) (*filesystempb.RemoveWatcherResponse, error) {
	s.watchers.mu.Lock()
	x, err := s.watchers.find(c.session.ID(), in.GetWatcherId())
	s.watchers.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s.watchers.remove(x)
	return &filesystempb.RemoveWatcherResponse{}, nil
}
