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
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sort"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/exclusive"
	"cellhold/internal/mirror"
	"cellhold/internal/packages"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
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
	broken      map[cellhold.SessionID]broken
	article     map[string]cellhold.SessionID // the sessions of the article's API by owner and user
	starting    int                           // reserved slots of sessions that get a sandbox
	hibernating int                           // reserved slots of sessions that hibernate
	quotas      map[string]*quota             // by owner, so at most one for each token
	ports       portCounts                    // of the connections to ports
	strays      []stray                       // the strays whose removal failed
	condemned   map[sandbox.ID]int            // the removals that are not done, by sandbox
	reschedule  chan struct{}                 // capacity 1: the due time of a session changed

	adopting map[cellhold.SessionID]*adopting // the sessions of an earlier server that are not adopted yet
	spared   map[cellhold.SessionID]bool      // sessions that could not be adopted; their sandboxes and snapshots are kept
	reaped   bool                             // the strays of the adopted sessions were listed

	inTurn  exclusive.Keys // held while a user's session is replaced, or a session with a key is created
	adopted chan struct{}  // closed when the registry accepts sessions
	beside  sync.WaitGroup // counts the adoptions and the removals of strays that run
	running sync.WaitGroup // counts the sessions with running goroutines
	folders mirror.Folders
}

// broken is a recorded session that this server cannot use.
type broken struct {
	owner string // if the record can be read
	err   error
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
	for _, d := range []string{o.Notebooks, o.Outputs} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("create a folder for the files of sessions: %w", err)
		}
	}
	r := &Registry{o: o, sessions: map[cellhold.SessionID]*session.Session{}, broken: map[cellhold.SessionID]broken{}, article: map[string]cellhold.SessionID{},
		condemned: map[sandbox.ID]int{}, quotas: map[string]*quota{}, ports: portCounts{map[string]int{}, map[string]int{}, map[cellhold.SessionID]int{}},
		adopting: map[cellhold.SessionID]*adopting{}, spared: map[cellhold.SessionID]bool{}, reschedule: make(chan struct{}, 1), adopted: make(chan struct{})}
	r.env = &session.Environment{Settings: o.Settings, Driver: freeDriver{o.Driver, r}, Store: o.Store, Images: o.Images, Templates: o.Templates,
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
// a caller learns nothing about other sessions. The exception is a session with a damaged record: its owner is not known,
// and every caller that has its id gets the same Internal error. Session waits for the adoption of its session.
func (r *Registry) Session(ctx context.Context, owner string, id cellhold.SessionID) (*session.Session, error) {
	err := r.awaitAdoption(ctx, func(rec record.Session) bool { return rec.ID == id && rec.Owner == owner })
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[id]
	if b, ok := r.broken[id]; ok && s == nil && (b.owner == "" || b.owner == owner) {
		return nil, b.err
	}
	if s == nil || s.Record().Owner != owner {
		return nil, cellhold.Errorf(cellhold.NotFound, "Session %.40q not found.", id)
	}
	return s, nil
}

// Find returns a session of any owner. The caller must check a secret of this session before it uses the session. Find
// waits for the adoption of the session.
func (r *Registry) Find(ctx context.Context, id cellhold.SessionID) (s *session.Session, found bool) {
	if r.awaitAdoption(ctx, func(rec record.Session) bool { return rec.ID == id }) != nil {
		return nil, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, found = r.sessions[id]
	return s, found
}

// Article returns the user's session of the article's API. It waits for the adoption of the session.
func (r *Registry) Article(ctx context.Context, owner, user string) (*session.Session, error) {
	key := articleKey(owner, user)
	err := r.awaitAdoption(ctx, func(rec record.Session) bool { return rec.Article && articleKey(rec.Owner, rec.User) == key })
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	id, ok := r.article[key]
	r.mu.Unlock()
	if !ok {
		return nil, cellhold.Errorf(cellhold.NotFound, "User %.40q has no session. Start one with /start_session.", user)
	}
	return r.Session(ctx, owner, id)
}

func articleKey(owner, user string) string { return owner + "\x00" + user }

// List returns the sessions of an owner, newest first, without their startup code. A session that is not adopted yet has
// no kernels.
func (r *Registry) List(owner string) []cellhold.Session {
	list := []cellhold.Session{}
	r.mu.Lock() // once: a session that is adopted between two locks would be in the list twice
	adopting, sessions := slices.Collect(maps.Values(r.adopting)), slices.Collect(maps.Values(r.sessions))
	r.mu.Unlock()
	for _, a := range adopting {
		if a.rec.Owner == owner {
			info := a.rec.Session
			info.Kernels = []cellhold.Kernel{}
			list = append(list, withoutStartup(info))
		}
	}
	for _, s := range sessions {
		if s.Record().Owner == owner {
			list = append(list, withoutStartup(s.Info()))
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

// Image returns an image by its name or digest. Empty means the default image of sessions.
func (r *Registry) Image(name string) (session.Image, error) {
	return r.o.Images.Resolve(cmp.Or(name, r.o.Image))
}

// Kernel returns the default kernelspec of sessions.
func (r *Registry) Kernel() string { return r.o.Kernel }

// withoutStartup removes the startup code of a session, which can be longer than the rest of a list.
func withoutStartup(info cellhold.Session) cellhold.Session {
	info.Startup = ""
	for i := range info.Kernels {
		info.Kernels[i].Startup = ""
	}
	return info
}

// Templates returns the templates, the default one first.
func (r *Registry) Templates() []cellhold.Template {
	if r.o.Templates == nil {
		return []cellhold.Template{}
	}
	return r.o.Templates.List()
}

// records returns the records of all present sessions. The caller must hold r.mu.
func (r *Registry) records() []record.Session {
	list := make([]record.Session, 0, len(r.sessions)+len(r.adopting))
	for _, s := range r.sessions {
		list = append(list, s.Record())
	}
	for _, a := range r.adopting {
		list = append(list, a.rec)
	}
	return list
}

// put adds a session to the maps. The caller must hold r.mu.
func (r *Registry) put(s *session.Session) {
	r.sessions[s.ID()] = s
	if rec := s.Record(); rec.Article && rec.State != cellhold.SessionEnded {
		r.article[articleKey(rec.Owner, rec.User)] = s.ID()
	}
}

// All returns the sessions of all owners. The caller must check a secret of a session before it uses the session. All
// waits for the adoption of all sessions.
func (r *Registry) All(ctx context.Context) []*session.Session {
	_ = r.awaitAdoption(ctx, func(record.Session) bool { return true }) // the error means that the request has ended
	return r.all()
}

// MaxTimeout returns the maximum timeout of a cell or a command.
func (r *Registry) MaxTimeout() time.Duration { return r.o.MaxCellTimeout }

// all returns all adopted and new sessions.
func (r *Registry) all() []*session.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*session.Session, 0, len(r.sessions))
	for _, s := range r.sessions {
		list = append(list, s)
	}
	return list
}
