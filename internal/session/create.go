package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/kernel"
)

// CreateRequest asks for a session. The zero value is a session with the server's defaults.
type CreateRequest struct {
	Owner    string            // name of the caller's token
	User     string            // label of the person or agent; never a path
	Template string            // zero means the default one
	Image    string            // zero means the template's, or the server's
	Startup  string            // code run silently at the start and after each restart
	Limits   cellhold.Limits   // a zero field means the server's default
	Egress   *cellhold.Egress  // what it may reach outside; nil means the server's default
	Secrets  []cellhold.Secret // values that its code can use without seeing them
	Figures  *cellhold.Figures // of its cells, where they do not say
	Meta     map[string]string // the caller's own notes
	Article  bool              // made by the article's API
}

// Bounds of what callers may attach to a session, so that records stay small.
const (
	maxUser    = 256
	maxMeta    = 32
	maxMetaLen = 1024
	maxStartup = 64 << 10
)

// Create makes a session and returns when its kernel is idle. When it fails, nothing is left.
func (m *Manager) Create(ctx context.Context, r CreateRequest) (*Session, error) {
	rec, img, err := m.newRecord(r)
	if err != nil {
		return nil, err
	}
	base, release, err := m.reserve(r.Owner, 1)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(ctx, m.o.StartTimeout, errStartTimeout)
	defer cancel()
	if err := m.o.Store.PutSession(ctx, rec); err != nil {
		return nil, cellhold.Wrap(cellhold.Unavailable, err, "The session could not be recorded. Is the server's disk full?")
	}
	s, err := m.start(ctx, base, rec, img)
	if err != nil {
		return nil, m.abandon(ctx, rec, err)
	}
	m.o.Logger.Info("session started", "session", s.id, "sandbox", s.record().Sandbox, "caller", r.Owner)
	return s, nil
}

var errStartTimeout = errors.New("the start took too long")

// start opens the sandbox of a new session and makes the session known.
func (m *Manager) start(ctx, base context.Context, rec cellhold.Session, img Image) (*Session, error) {
	log, err := kernel.NewLog(ctx, rec.ID, m.o.Store)
	if err != nil {
		return nil, err
	}
	s := newSession(m, rec, log)
	s.rootfs = img.Rootfs
	s.run(base)
	if err := s.open(ctx); err != nil {
		s.stop(nil)
		return nil, err
	}
	s.change(func(r *cellhold.Session) { // its idle time begins when it can be used
		r.State, r.Used = cellhold.SessionReady, time.Now().UTC()
	})
	if err := m.o.Store.PutSession(ctx, s.record()); err != nil {
		s.close(ctx)
		s.stop(nil)
		return nil, err
	}
	if !m.addReady(s) {
		s.close(ctx)
		s.stop(nil)
		return nil, m.Ready()
	}
	s.notes.Want()
	m.nudge()
	return s, nil
}

// abandon deletes what a failed start has recorded and says what happened.
func (m *Manager) abandon(ctx context.Context, rec cellhold.Session, err error) error {
	clean, cancel := cleanup(ctx)
	defer cancel()
	if derr := m.o.Store.DeleteSession(clean, rec.ID); derr != nil {
		m.o.Logger.Error("deleting a session that did not start", "session", rec.ID, "err", derr)
	}
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), errStartTimeout) {
		m.o.Logger.Error("starting a session", "session", rec.ID, "err", err)
	}
	if errors.Is(context.Cause(ctx), errStartTimeout) {
		return cellhold.Wrap(cellhold.Unavailable, err, "The session did not start within %s. The host may be overloaded; try again.", m.o.StartTimeout)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, ok := errors.AsType[*cellhold.Error](err); ok {
		return err
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be started. The server's log says why; `cellhold doctor` checks the host.")
}

// Replace ends the session that the article's API made for the user before, and makes a new one.
func (m *Manager) Replace(ctx context.Context, r CreateRequest) (*Session, error) {
	r.Article = true
	release, err := m.replacing(ctx, articleKey(r.Owner, r.User))
	if err != nil {
		return nil, err
	}
	defer release()
	if old, err := m.Article(r.Owner, r.User); err == nil {
		if err := old.End(ctx); err != nil {
			return nil, err
		}
	}
	return m.Create(ctx, r)
}

// replacement is whose turn it is to replace one user's session.
type replacement struct {
	held   chan struct{} // capacity 1
	wanted int           // by how many, the one that has it included; guarded by Manager.mu
}

// replacing makes replacements of one user's session take turns. Nothing is left of a turn that nobody
// wants: callers choose the names of users.
func (m *Manager) replacing(ctx context.Context, key string) (release func(), err error) {
	m.mu.Lock()
	turn := m.replaced[key]
	if turn == nil {
		turn = &replacement{held: make(chan struct{}, 1)}
		m.replaced[key] = turn
	}
	turn.wanted++
	m.mu.Unlock()
	leave := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if turn.wanted--; turn.wanted == 0 {
			delete(m.replaced, key)
		}
	}
	select {
	case turn.held <- struct{}{}:
		return func() { <-turn.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// newRecord checks a request and returns the record and the image of the session to be.
func (m *Manager) newRecord(r CreateRequest) (cellhold.Session, Image, error) {
	if err := checkLabel(r.User); err != nil {
		return cellhold.Session{}, Image{}, err
	}
	if err := checkExtras(r); err != nil {
		return cellhold.Session{}, Image{}, err
	}
	r, err := m.o.fromTemplate(r)
	if err != nil {
		return cellhold.Session{}, Image{}, err
	}
	limits, err := m.o.limits(r.Limits)
	if err != nil {
		return cellhold.Session{}, Image{}, err
	}
	out, vault, err := m.o.egress(r)
	if err != nil {
		return cellhold.Session{}, Image{}, err
	}
	if r.Image == "" {
		r.Image = m.o.Image
	}
	img, err := m.o.Images.Resolve(r.Image)
	if err != nil {
		return cellhold.Session{}, Image{}, err
	}
	now := time.Now().UTC()
	id := cellhold.NewSessionID()
	return cellhold.Session{ID: id, Owner: r.Owner, User: r.User, State: cellhold.SessionStarting, Image: r.Image, Digest: img.Digest,
		Startup: r.Startup, Created: now, Used: now, Limits: limits, Egress: out, Secrets: shownSecrets(r.Secrets), Vault: vault, Sandbox: sandboxID(id, 0),
		Template: r.Template, Article: r.Article, Figures: r.Figures, Meta: r.Meta, Kernels: m.o.firstKernel()}, img, nil
}

// firstKernel is the kernel that every session has.
func (o *Options) firstKernel() []cellhold.Kernel {
	return []cellhold.Kernel{{ID: cellhold.KernelID(o.Kernel), Spec: o.Kernel, State: cellhold.KernelStarting}}
}

// sandboxID names the nth sandbox of a session. All ids have the same length.
func sandboxID(id cellhold.SessionID, n int) string { return fmt.Sprintf("%s-%04x", id, n) }

// nextSandboxID names the sandbox after that one.
func nextSandboxID(id cellhold.SessionID, last string) string {
	n := 0
	if i := strings.LastIndexByte(last, '-'); i >= 0 {
		fmt.Sscanf(last[i+1:], "%x", &n)
	}
	return sandboxID(id, (n+1)&0xffff)
}

// checkLabel bounds the user's label. It is shown in lists and logs, so it has no control characters.
func checkLabel(user string) error {
	if len(user) > maxUser {
		return cellhold.Errorf(cellhold.Invalid, "The user label has %d bytes; %d are allowed.", len(user), maxUser)
	}
	if !utf8.ValidString(user) || strings.ContainsFunc(user, unicode.IsControl) {
		return cellhold.Errorf(cellhold.Invalid, "The user label must be UTF-8 text without control characters.")
	}
	return nil
}

func checkExtras(r CreateRequest) error {
	if len(r.Startup) > maxStartup {
		return cellhold.Errorf(cellhold.Invalid, "The startup code has %d bytes; %d are allowed.", len(r.Startup), maxStartup)
	}
	if len(r.Meta) > maxMeta {
		return cellhold.Errorf(cellhold.Invalid, "The metadata has %d entries; %d are allowed.", len(r.Meta), maxMeta)
	}
	for k, v := range r.Meta {
		if len(k) > maxMetaLen || len(v) > maxMetaLen {
			return cellhold.Errorf(cellhold.Invalid, "An entry of the metadata has more than %d bytes.", maxMetaLen)
		}
	}
	return nil
}
