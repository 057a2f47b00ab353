package registry

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/egress"
	"cellhold/internal/record"
	"cellhold/internal/session"
)

// CreateRequest asks for a session. The zero value is a session with the server's defaults.
type CreateRequest struct {
	Owner    string            // name of the caller's token
	User     string            // label of the person or agent; never a path
	Template string            // empty: the default one
	Image    string            // empty: the template's, or the server's
	Startup  string            // code that runs silently at the start and after each restart
	Limits   cellhold.Limits   // a zero field means the server's default
	Egress   *cellhold.Egress  // the network access; nil: the server's default
	Secrets  []cellhold.Secret // values that its code can use without seeing them
	Figures  *cellhold.Figures // of cells that do not say
	Meta     map[string]string // the caller's notes
	Article  bool              // created through the article's API
}

// Bounds of what callers attach to a session, so that records stay small.
const (
	maxUser    = 256
	maxMeta    = 32
	maxMetaLen = 1024
	maxStartup = 64 << 10
)

// Create makes a session and returns when its kernel is idle. After an error nothing is left.
func (r *Registry) Create(ctx context.Context, q CreateRequest) (*session.Session, error) {
	rec, img, err := r.newRecord(q)
	if err != nil {
		return nil, err
	}
	base, release, err := r.reserve(q.Owner, 1)
	if err != nil {
		return nil, err
	}
	defer release()
	s, err := session.Start(ctx, base, r.env, rec, img.Rootfs)
	if err != nil {
		return nil, err
	}
	r.o.Logger.Info("session started", "session", s.ID(), "sandbox", s.Record().Sandbox, "caller", q.Owner)
	return s, nil
}

// Fork makes n sessions that continue from a session's memory and files as they are now, or as they were at
// a checkpoint if one is named. Either all are made or none.
func (r *Registry) Fork(ctx context.Context, s *session.Session, n int, checkpoint string) ([]*session.Session, error) {
	if n < 1 || n > session.MaxForks {
		return nil, cellhold.Errorf(cellhold.Invalid, "Invalid count %d: 1 to %d forks can be made at once.", n, session.MaxForks)
	}
	if err := r.env.Shelf.Able(); err != nil {
		return nil, err
	}
	base, release, err := r.reserve(s.Record().Owner, n)
	if err != nil {
		return nil, err
	}
	defer release()
	return s.Fork(ctx, base, n, checkpoint)
}

// Replace ends the session that the article's API made for the user before, and makes a new one.
func (r *Registry) Replace(ctx context.Context, q CreateRequest) (*session.Session, error) {
	q.Article = true
	release, err := r.replaceInTurn(ctx, articleKey(q.Owner, q.User))
	if err != nil {
		return nil, err
	}
	defer release()
	if old, err := r.Article(q.Owner, q.User); err == nil {
		if err := old.End(ctx); err != nil {
			return nil, err
		}
	}
	return r.Create(ctx, q)
}

// replacement makes the replacements of one user's session take turns.
type replacement struct {
	held   chan struct{} // capacity 1
	wanted int           // callers that have or wait for the turn; guarded by Registry.mu
}

// replaceInTurn waits for the turn to replace one user's session. Nothing is left of a turn for which no
// caller waits: callers choose the names of users.
func (r *Registry) replaceInTurn(ctx context.Context, key string) (release func(), err error) {
	r.mu.Lock()
	turn := r.replacing[key]
	if turn == nil {
		turn = &replacement{held: make(chan struct{}, 1)}
		r.replacing[key] = turn
	}
	turn.wanted++
	r.mu.Unlock()
	leave := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if turn.wanted--; turn.wanted == 0 {
			delete(r.replacing, key)
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

// newRecord checks a request, and returns the record and the image of the new session.
func (r *Registry) newRecord(q CreateRequest) (record.Session, session.Image, error) {
	fail := func(err error) (record.Session, session.Image, error) { return record.Session{}, session.Image{}, err }
	if err := q.check(); err != nil {
		return fail(err)
	}
	q, err := r.o.fromTemplate(q)
	if err != nil {
		return fail(err)
	}
	limits, err := r.o.limits(q.Limits)
	if err != nil {
		return fail(err)
	}
	out, vault, err := r.o.egress(q)
	if err != nil {
		return fail(err)
	}
	if q.Image == "" {
		q.Image = r.o.Image
	}
	img, err := r.o.Images.Resolve(q.Image)
	if err != nil {
		return fail(err)
	}
	now := time.Now().UTC()
	id := cellhold.NewSessionID()
	return record.Session{
		Session: cellhold.Session{ID: id, User: q.User, State: cellhold.SessionStarting, Image: q.Image, Startup: q.Startup,
			Created: now, Used: now, Limits: limits, Egress: out, Secrets: shownSecrets(q.Secrets), Template: q.Template,
			Figures: q.Figures, Meta: q.Meta, Kernels: r.o.FirstKernel()},
		Owner: q.Owner, Digest: img.Digest, Vault: vault, Sandbox: record.SandboxID(id, 0), Article: q.Article,
	}, img, nil
}

// check bounds what the caller attaches. The user label is shown in lists and logs, so it has no control
// characters.
func (q CreateRequest) check() error {
	if len(q.User) > maxUser {
		return cellhold.Errorf(cellhold.Invalid, "The user label has %d bytes; at most %d are allowed.", len(q.User), maxUser)
	}
	if !utf8.ValidString(q.User) || strings.ContainsFunc(q.User, unicode.IsControl) {
		return cellhold.Errorf(cellhold.Invalid, "The user label must be UTF-8 text without control characters.")
	}
	if len(q.Startup) > maxStartup {
		return cellhold.Errorf(cellhold.Invalid, "The startup code has %d bytes; at most %d are allowed.", len(q.Startup), maxStartup)
	}
	if len(q.Meta) > maxMeta {
		return cellhold.Errorf(cellhold.Invalid, "The metadata has %d entries; at most %d are allowed.", len(q.Meta), maxMeta)
	}
	for k, v := range q.Meta {
		if len(k) > maxMetaLen || len(v) > maxMetaLen {
			return cellhold.Errorf(cellhold.Invalid, "The metadata entry %.40q has more than %d bytes.", k, maxMetaLen)
		}
	}
	return nil
}

// fromTemplate fills in what a request leaves to its template. If a request names no template and no other
// image, the default template is used.
func (o *Options) fromTemplate(q CreateRequest) (CreateRequest, error) {
	if o.Templates == nil {
		if q.Template != "" {
			return q, cellhold.Errorf(cellhold.NotFound, "Template %.100q not found; this server has no templates.", q.Template)
		}
		return q, nil
	}
	t, err := o.Templates.Find(q.Template)
	if err != nil || t.Name == "" || q.Template == "" && q.Image != "" && q.Image != t.Image {
		return q, err
	}
	q.Template = t.Name
	if q.Image == "" {
		q.Image = t.Image
	}
	q.Limits = orDefault(q.Limits, t.Limits)
	if q.Egress == nil {
		q.Egress = &t.Egress
	}
	return q, nil
}

// egress checks the network access that a caller asks for. It returns what the session gets, and its secrets
// sealed.
func (o *Options) egress(q CreateRequest) (cellhold.Egress, []byte, error) {
	policy := o.Egress.Default
	if q.Egress != nil {
		var err error
		if policy, err = egress.NewPolicy(*q.Egress); err != nil {
			return cellhold.Egress{}, nil, err
		}
		if err := policy.Within(o.Egress.Ceiling); err != nil {
			return cellhold.Egress{}, nil, err
		}
	}
	vault, err := egress.NewVault(policy, q.Secrets)
	if err != nil {
		return cellhold.Egress{}, nil, err
	}
	sealed, err := vault.Seal()
	return policy.Egress(), sealed, err
}

// shownSecrets is what callers see of secrets.
func shownSecrets(list []cellhold.Secret) []cellhold.SecretInfo {
	var shown []cellhold.SecretInfo
	for _, s := range list {
		shown = append(shown, cellhold.SecretInfo{Name: s.Name, Host: s.Host})
	}
	return shown
}
