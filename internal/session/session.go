// Package session decides who owns which sandbox and kernels, and for how long: creation, limits,
// expiry, the end, and adoption after a restart of the server.
//
// It refuses to know how callers reach it (the doors do) and how sandboxes are made (drivers do).
// A session's sandbox outlives the server; only End, expiry or its own death ends it.
//
// Lock order: Session.life, Manager.mu, Session.mu; then those of package kernel.
package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/kernel"
	"cellhold/internal/mirror"
	"cellhold/internal/packages"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/shelf"
)

// Store keeps sessions, their cells and their events.
type Store interface {
	kernel.Journal
	CommandStore
	PutSession(ctx context.Context, s cellhold.Session) error
	// AppendSession records a session that has changed together with the events that say so.
	AppendSession(ctx context.Context, s cellhold.Session, evs []cellhold.Event) error
	// Copy gives a new session the events of another up to that number, and the cells and commands
	// that had begun by then; those that have no events, by that time.
	Copy(ctx context.Context, from, to cellhold.SessionID, last int64, at time.Time) error
	// Sessions yields all records; a damaged one is yielded as an error, and the rest follows.
	Sessions(ctx context.Context) iter.Seq2[cellhold.Session, error]
	// DeleteSession deletes the record with its cells and events. An unknown id is no error.
	DeleteSession(ctx context.Context, id cellhold.SessionID) error
	// Cell returns one cell, a cellhold.NotFound error when there is none.
	Cell(ctx context.Context, id cellhold.SessionID, c cellhold.CellID) (cellhold.Cell, error)
	// CellByKey returns the cell that was submitted with that key, likewise.
	CellByKey(ctx context.Context, id cellhold.SessionID, key string) (cellhold.Cell, error)
	// PutCell records a cell that has changed, or a new one after all others.
	PutCell(ctx context.Context, c cellhold.Cell) error
	// Cells yields the cells in the order of their submission.
	Cells(ctx context.Context, id cellhold.SessionID) iter.Seq2[cellhold.Cell, error]
	// ReadType yields the events of one type after that number, in order, up to the newest.
	ReadType(ctx context.Context, id cellhold.SessionID, t cellhold.EventType, after int64) iter.Seq2[cellhold.Event, error]
}

// Image is a root file system that sandboxes can be made from.
type Image struct {
	Name   string // as the caller knows it
	Digest string // of its content
	Rootfs string // host directory
}

// Images finds images by name; a cellhold.NotFound error says how to get one.
type Images interface {
	Resolve(name string) (Image, error)
}

// Options configures a Manager. Driver, Store, Images, Logger, Home, Image and Limits are required.
type Options struct {
	Driver sandbox.Driver
	Store  Store
	Images Images
	Logger *slog.Logger

	Packages *packages.Packages // installs packages; nil means that nobody may

	Templates Templates // what sessions can start from; nil means nothing

	Home string // state directory: notebooks and output files
	Data string // host folder shown read-only at /mnt/data; empty means none

	Image   string          // image of sessions that name none
	Kernel  string          // kernelspec that sessions start; zero means python3
	Limits  cellhold.Limits // of sessions that name none; every field set
	Ceiling cellhold.Limits // most that a caller may ask for; a zero field means that of Limits

	Egress Egress // what sessions may reach outside; zero is nothing

	MaxSessions         int   // alive at once, those that sleep not counted; zero means 64
	MaxHibernated       int   // that sleep at once; zero means four times MaxSessions
	MaxSessionsPerOwner int   // of both, of one caller; zero means all
	MaxCheckpoints      int   // of one session; zero means 8
	MaxSnapshots        int64 // bytes that all saved sessions and checkpoints may take; zero means 32 GiB
	CreatesPerMinute    int   // sessions that one caller may ask for within a minute; zero means any number

	IdleTimeout    time.Duration // a session that nothing uses ends after this; zero means 1 h
	HibernateAfter time.Duration // a session that nothing uses is hibernated after this, if it is less than IdleTimeout; zero means never
	MaxAge         time.Duration // a session ends at this age; zero means never
	CellTimeout    time.Duration // deadline of cells that name none; zero means 5 min
	MaxCellTimeout time.Duration // longest deadline; zero means 24 h
	StartTimeout   time.Duration // sandbox and kernel must be ready within; zero means 90 s
	MaxUpload      int64         // bytes of the longest upload; zero means 16 GiB
	Retention      time.Duration // an expired or lost session can be read for this long; zero means 24 h

	KeepNotebooks bool // notebooks stay on disk when their session has ended
	Ephemeral     bool // sandboxes end with the manager
}

// Manager owns all sessions of a server. Run must be running for it to take any.
type Manager struct {
	o Options

	mu       sync.Mutex
	base     context.Context // of the sessions' goroutines; nil while Run does not run
	ready    bool
	sessions map[cellhold.SessionID]*Session
	article  map[string]cellhold.SessionID // the article's sessions by owner and user
	replaced map[string]*replacement       // capacity 1 each: held while a user's session is being replaced
	starting int                           // slots taken by sessions that are being created, or are waking up
	lying    int                           // slots taken by sessions that are being hibernated
	quotas   map[string]*quota             // by owner; there are no more than tokens
	folders  mirror.Folders
	strays   []stray
	shelf    *shelf.Shelf
	wake     chan struct{} // capacity 1: expiry has something new to look at

	adopted chan struct{}  // closed when Run has taken over what was left
	running sync.WaitGroup // one for each session's goroutines
}

// New returns a manager that has not looked at its store yet.
func New(o Options) (*Manager, error) {
	if o.Driver == nil || o.Store == nil || o.Images == nil || o.Logger == nil || o.Home == "" || o.Image == "" {
		return nil, errors.New("session: Driver, Store, Images, Logger, Home and Image are required")
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
	for _, d := range []string{o.notebookDir(), o.outputRoot()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("state directory: %w", err)
		}
	}
	return &Manager{o: o, shelf: shelf.New(o.Driver, o.MaxSnapshots), sessions: map[cellhold.SessionID]*Session{},
		article: map[string]cellhold.SessionID{}, replaced: map[string]*replacement{}, quotas: map[string]*quota{}, wake: make(chan struct{}, 1), adopted: make(chan struct{})}, nil
}

// DefaultKernel is the kernelspec that sessions start unless the options name another one.
const DefaultKernel = "python3"

// check refuses settings that would make every session or cell fail.
func (o *Options) check() error {
	if _, err := o.limits(cellhold.Limits{}); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if err := o.checkTemplates(); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if o.MaxUpload < 0 {
		return fmt.Errorf("settings: the longest upload cannot be negative (%d)", o.MaxUpload)
	}
	if o.MaxSessions < 1 {
		return fmt.Errorf("settings: there must be room for at least one session, not %d", o.MaxSessions)
	}
	if o.MaxHibernated < 0 || o.MaxCheckpoints < 0 || o.MaxSnapshots < 0 {
		return fmt.Errorf("settings: the most hibernated sessions (%d), checkpoints (%d) and bytes of both (%d) cannot be negative", o.MaxHibernated, o.MaxCheckpoints, o.MaxSnapshots)
	}
	if o.MaxSessionsPerOwner < 1 || o.CreatesPerMinute < 0 {
		return fmt.Errorf("settings: a token must have room for a session (%d), and ask for no less than none in a minute (%d)", o.MaxSessionsPerOwner, o.CreatesPerMinute)
	}
	for _, x := range []struct {
		name string
		d    time.Duration
	}{
		{"idle timeout", o.IdleTimeout}, {"time until an idle session is hibernated", o.HibernateAfter}, {"cell timeout", o.CellTimeout}, {"most of a cell timeout", o.MaxCellTimeout},
		{"start timeout", o.StartTimeout}, {"retention", o.Retention}, {"most age of a session", o.MaxAge},
	} {
		if x.d < 0 {
			return fmt.Errorf("settings: the %s cannot be negative (%s)", x.name, x.d)
		}
	}
	if o.CellTimeout > o.MaxCellTimeout {
		return fmt.Errorf("settings: the timeout of cells (%s) is longer than the longest that is allowed (%s)", o.CellTimeout, o.MaxCellTimeout)
	}
	return nil
}

// setDefaults fills in what zero means.
func (o *Options) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if o.MaxSessions == 0 {
		o.MaxSessions = 64
	}
	if o.MaxHibernated == 0 {
		o.MaxHibernated = hibernatedShare * o.MaxSessions
	}
	if o.MaxSessionsPerOwner == 0 {
		o.MaxSessionsPerOwner = o.MaxSessions + o.MaxHibernated
	}
	if o.MaxCheckpoints == 0 {
		o.MaxCheckpoints = defaultMaxCheckpoints
	}
	if o.MaxSnapshots == 0 {
		o.MaxSnapshots = defaultMaxSnapshots
	}
	if o.Kernel == "" {
		o.Kernel = DefaultKernel
	}
	if o.MaxUpload == 0 {
		o.MaxUpload = defaultMaxUpload
	}
	def(&o.IdleTimeout, time.Hour)
	def(&o.CellTimeout, 5*time.Minute)
	def(&o.MaxCellTimeout, 24*time.Hour)
	def(&o.StartTimeout, 90*time.Second)
	def(&o.Retention, 24*time.Hour)
	o.Ceiling = orDefault(o.Ceiling, o.Limits)
}

func (o *Options) notebookDir() string { return filepath.Join(o.Home, "notebooks") }
func (o *Options) outputRoot() string  { return filepath.Join(o.Home, "output") }

// Ready returns nil once the manager takes sessions, and says why not before and after.
func (m *Manager) Ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ready {
		return cellhold.Errorf(cellhold.Unavailable, "The server is starting up or shutting down. Try again in a moment.")
	}
	return nil
}

// Session returns a session of that owner. Unknown and foreign sessions give the same error, so
// that nobody learns of another's.
func (m *Manager) Session(owner string, id cellhold.SessionID) (*Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sessions[id]
	if s == nil || s.owner != owner {
		return nil, cellhold.Errorf(cellhold.NotFound, "No such session.")
	}
	return s, nil
}

// Article returns the session that the article's API made for that user.
func (m *Manager) Article(owner, user string) (*Session, error) {
	m.mu.Lock()
	id, ok := m.article[articleKey(owner, user)]
	m.mu.Unlock()
	if !ok {
		return nil, cellhold.Errorf(cellhold.NotFound, "No such session.")
	}
	return m.Session(owner, id)
}

func articleKey(owner, user string) string { return owner + "\x00" + user }

// List returns the sessions of an owner, newest first.
func (m *Manager) List(owner string) []cellhold.Session {
	m.mu.Lock()
	var own []*Session
	for _, s := range m.sessions {
		if s.owner == owner {
			own = append(own, s)
		}
	}
	m.mu.Unlock()
	list := make([]cellhold.Session, 0, len(own))
	for _, s := range own {
		list = append(list, s.Info())
	}
	sort.Slice(list, func(i, j int) bool {
		if !list[i].Created.Equal(list[j].Created) {
			return list[i].Created.After(list[j].Created)
		}
		return list[i].ID < list[j].ID
	})
	return list
}

// ImageInUse reports whether a session that is alive was made from that image.
func (m *Manager) ImageInUse(digest string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		if r := s.record(); r.Digest == digest && r.State != cellhold.SessionEnded {
			return true
		}
	}
	return false
}

// add makes a session known.
func (m *Manager) add(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(s)
}

// addReady is add while the manager takes sessions; false when it no longer does.
func (m *Manager) addReady(s *Session) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready {
		m.put(s)
	}
	return m.ready
}

// put is add. The caller holds mu.
func (m *Manager) put(s *Session) {
	m.sessions[s.id] = s
	if r := s.record(); r.Article && r.State != cellhold.SessionEnded {
		m.article[articleKey(s.owner, r.User)] = s.id
	}
}

// forget makes a session unknown. keepReading leaves it to be read, but no longer found by its user.
func (m *Manager) forget(s *Session, keepReading bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key := articleKey(s.owner, s.record().User); m.article[key] == s.id {
		delete(m.article, key)
	}
	if !keepReading {
		delete(m.sessions, s.id)
	}
}

// all returns the sessions known now.
func (m *Manager) all() []*Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*Session, 0, len(m.sessions))
	for _, s := range m.sessions {
		list = append(list, s)
	}
	return list
}

// nudge wakes the expiry.
func (m *Manager) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
