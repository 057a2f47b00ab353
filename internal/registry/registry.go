// Package registry manages the sessions of a server. It creates sessions within the limits, finds them for
// their owners, and ends them when they are due. At the start it takes over the sessions of an earlier server. It
// also destroys sandboxes and snapshots that no session needs.
//
// It does not know how a session starts, hibernates or ends: package session does. It does not know how
// callers reach it.
//
// Lock order: the turn of a session, Registry.mu, the locks of a session.
package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"sort"
	"sync"

	"cellhold"
	"cellhold/internal/mirror"
	"cellhold/internal/packages"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
	"cellhold/internal/session/paths"
	"cellhold/internal/session/snapshots"
)

// Store stores sessions, their cells and their events.
type Store interface {
	session.Store
	// Sessions yields all records. It yields an error for a damaged record, and continues with the next one.
	Sessions(ctx context.Context) iter.Seq2[record.Session, error]
}

// Options configures a Registry. Driver, Store, Images, Logger, Home, Image and Limits are required.
type Options struct {
	session.Settings
	Driver    sandbox.Driver
	Store     Store
	Images    session.Images
	Templates session.Templates  // nil: none
	Packages  *packages.Packages // nil: no packages can be installed
	Logger    *slog.Logger

	Image   string          // default image of sessions
	Limits  cellhold.Limits // default limits of sessions; every field must be set
	Ceiling cellhold.Limits // maximum limits that a caller can request; a zero field means the field of Limits

	MaxSessions         int   // maximum number of sessions with a sandbox; 0: 64
	MaxHibernated       int   // maximum number of hibernated sessions; 0: four times MaxSessions
	MaxSessionsPerOwner int   // maximum number of sessions of one owner, running and hibernated; 0: no limit
	MaxSnapshots        int64 // maximum size of all snapshots in bytes; 0: 32 GiB
	CreatesPerMinute    int   // maximum number of sessions that one owner can create in a minute; 0: no limit
}

// Registry has all sessions of a server. It accepts sessions only while Run runs.
type Registry struct {
	o   Options
	env *session.Environment

	mu          sync.Mutex
	base        context.Context // context of the sessions' goroutines; nil while Run does not run
	ready       bool
	sessions    map[cellhold.SessionID]*session.Session
	article     map[string]cellhold.SessionID // the sessions of the article's API by owner and user
	replacing   map[string]*replacement       // replacements by owner and user
	starting    int                           // reserved slots of sessions that get a sandbox
	hibernating int                           // reserved slots of sessions that hibernate
	quotas      map[string]*quota             // by owner, so at most one for each token
	strays      []stray
	reschedule  chan struct{} // capacity 1: the due time of a session changed

	adopted chan struct{}  // closed when Run has adopted the sessions of an earlier server
	running sync.WaitGroup // counts the sessions with running goroutines
	folders mirror.Folders
}

// New returns a registry. It does not read the store yet.
func New(o Options) (*Registry, error) {
	if o.Driver == nil || o.Store == nil || o.Images == nil || o.Logger == nil || o.Home == "" || o.Image == "" {
		return nil, errors.New("registry: Driver, Store, Images, Logger, Home and Image are required")
	}
	o.setDefaults()
	if o.Packages == nil {
		var err error
		if o.Packages, err = packages.New(packages.Options{}); err != nil {
			return nil, err
		}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	for _, d := range []string{paths.Notebooks(o.Home), paths.Outputs(o.Home)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("create the state directory: %w", err)
		}
	}
	r := &Registry{o: o, sessions: map[cellhold.SessionID]*session.Session{}, article: map[string]cellhold.SessionID{},
		replacing: map[string]*replacement{}, quotas: map[string]*quota{}, reschedule: make(chan struct{}, 1), adopted: make(chan struct{})}
	r.env = &session.Environment{Settings: o.Settings, Driver: o.Driver, Store: o.Store, Images: o.Images, Templates: o.Templates,
		Packages: o.Packages, Logger: o.Logger, Snapshots: snapshots.New(o.Driver, o.MaxSnapshots), Folders: &r.folders, Registry: hooks{r}, Running: &r.running}
	return r, nil
}

// Ready returns nil if the registry accepts sessions, otherwise an error with the reason.
func (r *Registry) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready {
		return errNotReady
	}
	return nil
}

var errNotReady = cellhold.Errorf(cellhold.Unavailable, "The server is starting or shutting down. Retry in a moment.")

// Session returns a session of the owner. An unknown session and a session of another owner give the same error. So
// a caller learns nothing about other sessions.
func (r *Registry) Session(owner string, id cellhold.SessionID) (*session.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[id]
	if s == nil || s.Record().Owner != owner {
		return nil, cellhold.Errorf(cellhold.NotFound, "Session %.40q not found.", id)
	}
	return s, nil
}

// Article returns the user's session of the article's API.
func (r *Registry) Article(owner, user string) (*session.Session, error) {
	r.mu.Lock()
	id, ok := r.article[articleKey(owner, user)]
	r.mu.Unlock()
	if !ok {
		return nil, cellhold.Errorf(cellhold.NotFound, "User %.40q has no session. Start one with /start_session.", user)
	}
	return r.Session(owner, id)
}

func articleKey(owner, user string) string { return owner + "\x00" + user }

// List returns the sessions of an owner, newest first.
func (r *Registry) List(owner string) []cellhold.Session {
	list := []cellhold.Session{}
	for _, s := range r.all() {
		if s.Record().Owner == owner {
			list = append(list, s.Info())
		}
	}
	sort.Slice(list, func(i, j int) bool {
		if !list[i].Created.Equal(list[j].Created) {
			return list[i].Created.After(list[j].Created)
		}
		return list[i].ID < list[j].ID
	})
	return list
}

// Templates returns the templates, the default one first.
func (r *Registry) Templates() []cellhold.Template {
	if r.o.Templates == nil {
		return []cellhold.Template{}
	}
	return r.o.Templates.List()
}

// ImageInUse reports whether a session that has not ended was created from that image.
func (r *Registry) ImageInUse(digest string) bool {
	for _, s := range r.all() {
		if rec := s.Record(); rec.Digest == digest && rec.State != cellhold.SessionEnded {
			return true
		}
	}
	return false
}

// put adds a session to the maps. The caller must hold r.mu.
func (r *Registry) put(s *session.Session) {
	r.sessions[s.ID()] = s
	if rec := s.Record(); rec.Article && rec.State != cellhold.SessionEnded {
		r.article[articleKey(rec.Owner, rec.User)] = s.ID()
	}
}

// all returns all present sessions.
func (r *Registry) all() []*session.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*session.Session, 0, len(r.sessions))
	for _, s := range r.sessions {
		list = append(list, s)
	}
	return list
}
