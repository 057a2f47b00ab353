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

// CreateRequest describes a session to create. The zero value means the server's defaults.
type CreateRequest struct {
	Owner    string            // name of the caller's token
	User     string            // label of the person or agent; never used as a path
	Template string            // empty: the default template
	Image    string            // empty: the template's image, or the server's default
	Startup  string            // code that runs without output after each start of the kernel
	Limits   cellhold.Limits   // a zero field means the server's default
	Egress   *cellhold.Egress  // the network access; nil: the server's default
	Secrets  []cellhold.Secret // values that code can use without seeing them
	Figures  *cellhold.Figures // default format of figures
	Meta     map[string]string // the caller's notes
	Article  bool              // created through the article's API
}

// Limits of the data that callers attach to a session, so that records stay small.
const (
	maxUser    = 256
	maxMeta    = 32
	maxMetaLen = 1024
	maxStartup = 64 << 10
)

// Create creates a session and returns when its kernel is idle. After an error it leaves nothing behind.
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

// Fork creates n sessions that continue from a session's memory and files, as they are now or at a
// checkpoint. An empty checkpoint means now. If one fork fails, none is created.
func (r *Registry) Fork(ctx context.Context, s *session.Session, n int, checkpoint string) ([]*session.Session, error) {
	if n < 1 || n > session.MaxForks {
		return nil, cellhold.Errorf(cellhold.Invalid, "Invalid count %d: use 1 to %d.", n, session.MaxForks)
	}
	if err := r.env.Snapshots.CheckSupport(); err != nil {
		return nil, err
	}
	base, release, err := r.reserve(s.Record().Owner, n)
	if err != nil {
		return nil, err
	}
	defer release()
	return s.Fork(ctx, base, n, checkpoint)
}

// Replace ends the user's previous session of the article's API, and creates a new one.
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

// replacement lets only one call at a time replace a user's session.
type replacement struct {
	held    chan struct{} // capacity 1
	callers int           // number of callers that replace the session or wait to do so; guarded by Registry.mu
}

// replaceInTurn waits until no other call replaces the user's session. The caller must call release. The last
// caller deletes the entry of the user, because the number of user names has no limit.
func (r *Registry) replaceInTurn(ctx context.Context, key string) (release func(), err error) {
	r.mu.Lock()
	entry := r.replacing[key]
	if entry == nil {
		entry = &replacement{held: make(chan struct{}, 1)}
		r.replacing[key] = entry
	}
	entry.callers++
	r.mu.Unlock()
	leave := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if entry.callers--; entry.callers == 0 {
			delete(r.replacing, key)
		}
	}
	select {
	case entry.held <- struct{}{}:
		return func() { <-entry.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// newRecord checks a request, and returns the record and the image of the new session.
func (r *Registry) newRecord(q CreateRequest) (record.Session, session.Image, error) {
	now := time.Now().UTC() // read first: sessions that wait for a sandbox get one in the order of these times
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
	id := cellhold.NewSessionID()
	return record.Session{
		Session: cellhold.Session{ID: id, User: q.User, State: cellhold.SessionStarting, Image: q.Image, Startup: q.Startup,
			Created: now, Used: now, Limits: limits, Egress: out, Secrets: shownSecrets(q.Secrets), Template: q.Template,
			Figures: q.Figures, Meta: q.Meta, Kernels: r.o.FirstKernel()},
		Owner: q.Owner, Digest: img.Digest, Vault: vault, Sandbox: record.SandboxID(id, 0), Article: q.Article,
	}, img, nil
}

// check limits the data that the caller attaches. Lists and logs show the user label, so it must not have
// control characters.
func (q CreateRequest) check() error {
	if len(q.User) > maxUser {
		return cellhold.Errorf(cellhold.Invalid, "The user label has %d bytes; the limit is %d.", len(q.User), maxUser)
	}
	if !utf8.ValidString(q.User) || strings.ContainsFunc(q.User, unicode.IsControl) {
		return cellhold.Errorf(cellhold.Invalid, "Invalid user label %.40q: use UTF-8 text without control characters.", q.User)
	}
	if len(q.Startup) > maxStartup {
		return cellhold.Errorf(cellhold.Invalid, "The startup code has %d bytes; the limit is %d.", len(q.Startup), maxStartup)
	}
	if len(q.Meta) > maxMeta {
		return cellhold.Errorf(cellhold.Invalid, "The metadata has %d entries; the limit is %d.", len(q.Meta), maxMeta)
	}
	for k, v := range q.Meta {
		if len(k) > maxMetaLen || len(v) > maxMetaLen {
			return cellhold.Errorf(cellhold.Invalid, "The metadata entry %.40q is too long: the limit is %d bytes for a key or a value.", k, maxMetaLen)
		}
	}
	return nil
}

// fromTemplate sets the empty fields of a request to the values of its template. If the request names no
// template and no other image, fromTemplate uses the default template.
func (o *Options) fromTemplate(q CreateRequest) (CreateRequest, error) {
	if o.Templates == nil {
		if q.Template != "" {
			return q, cellhold.Errorf(cellhold.NotFound, "Template %.100q not found: this server has no templates.", q.Template)
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

// egress checks the requested network access. It returns the access of the session, and its sealed secrets.
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

// shownSecrets returns the public parts of secrets.
func shownSecrets(list []cellhold.Secret) []cellhold.SecretInfo {
	var shown []cellhold.SecretInfo
	for _, s := range list {
		shown = append(shown, cellhold.SecretInfo{Name: s.Name, Host: s.Host})
	}
	return shown
}
