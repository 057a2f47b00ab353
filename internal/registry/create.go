package registry

import (
	"cmp"
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/egress"
	"cellhold/internal/record"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
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
	Once     bool              `json:",omitempty"` // for one run of package oneshot; a later server deletes the session. The digest of a request without it stays the same

	PublicPorts bool // everybody can reach the ports of the session through hosts of the server

	Kernel string `json:",omitempty"` // kernelspec of the first kernel; empty: the server's default; the digest of a request without it stays the same

	terms.Process
	Deadline *terms.Deadline // nil: the session ends when it is idle
	Key      string          // a request with the same key returns the same session; empty: no key

	// Prepared is startup code of the server, in place of Startup. An update of the server can change it, so the digest
	// of a request does not cover it.
	Prepared string
}

// Limits of the data that callers attach to a session, so that records stay small.
const (
	maxUser    = 256
	maxMeta    = 32
	maxStartup = 64 << 10
)

// Create creates a session and returns when its kernel is idle. After an error it leaves nothing behind. If the owner
// has a session that was created with the key, Create returns that session.
func (r *Registry) Create(ctx context.Context, q CreateRequest) (*session.Session, error) {
	if q.Key == "" {
		return r.create(ctx, q)
	}
	return r.once(ctx, q.Owner, q.Key, q.digest(), func() (*session.Session, error) { return r.create(ctx, q) })
}

// once returns the owner's session that was created with a key. If there is none, it calls create. digest is that of the
// request: another request with the key is a Conflict.
func (r *Registry) once(ctx context.Context, owner, key, digest string, create func() (*session.Session, error)) (*session.Session, error) {
	if err := terms.CheckKey(key); err != nil {
		return nil, err
	}
	release, err := r.inTurn.Hold(ctx, "key\x00"+articleKey(owner, key)) // two requests with one key must give one session
	if err != nil {
		return nil, err
	}
	defer release()
	err = r.awaitAdoption(ctx, func(rec record.Session) bool { return rec.Owner == owner && rec.Key == key })
	if err != nil {
		return nil, err
	}
	for _, s := range r.all() {
		rec := s.Record()
		if rec.Owner != owner || rec.Key != key || rec.State == cellhold.SessionEnded {
			continue
		}
		if rec.KeyDigest != digest {
			return nil, cellhold.Errorf(cellhold.Conflict, "The idempotency key belongs to session %s of another request. Use a new key.", rec.ID)
		}
		return s, nil
	}
	return create()
}

func (r *Registry) create(ctx context.Context, q CreateRequest) (*session.Session, error) {
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

// Fork creates sessions that continue from a session's memory and files. If one fork fails, none is created. If the owner
// has a session that was created with the key, Fork returns that session.
func (r *Registry) Fork(ctx context.Context, s *session.Session, f terms.Fork) ([]*session.Session, error) {
	if f.Count < 1 || f.Count > session.MaxForks {
		return nil, cellhold.Errorf(cellhold.Invalid, "Invalid count %d: use 1 to %d.", f.Count, session.MaxForks)
	}
	if err := f.Check(); err != nil {
		return nil, err
	}
	if f.Key == "" {
		return r.fork(ctx, s, f)
	}
	f.KeyDigest = forkDigest(s.ID(), f)
	one, err := r.once(ctx, s.Record().Owner, f.Key, f.KeyDigest, func() (*session.Session, error) {
		forks, err := r.fork(ctx, s, f)
		if err != nil {
			return nil, err
		}
		return forks[0], nil
	})
	if err != nil {
		return nil, err
	}
	return []*session.Session{one}, nil
}

func (r *Registry) fork(ctx context.Context, s *session.Session, f terms.Fork) ([]*session.Session, error) {
	if err := r.env.Snapshots.CheckSupport(); err != nil {
		return nil, err
	}
	base, release, err := r.reserve(s.Record().Owner, f.Count)
	if err != nil {
		return nil, err
	}
	defer release()
	return s.Fork(ctx, base, f)
}

// Replace ends the user's previous session of the article's API, and creates a new one.
func (r *Registry) Replace(ctx context.Context, q CreateRequest) (*session.Session, error) {
	q.Article = true
	release, err := r.inTurn.Hold(ctx, articleKey(q.Owner, q.User))
	if err != nil {
		return nil, err
	}
	defer release()
	old, err := r.Article(ctx, q.Owner, q.User)
	if err != nil && cellhold.KindOf(err) != cellhold.NotFound {
		return nil, err
	}
	if err == nil {
		if err := old.End(ctx); err != nil {
			return nil, err
		}
	}
	return r.Create(ctx, q)
}

// newRecord checks a request, and returns the record and the image of the new session.
func (r *Registry) newRecord(q CreateRequest) (record.Session, session.Image, error) {
	now := time.Now().UTC() // read first: sessions that wait for a sandbox get one in the order of these times
	fail := func(err error) (record.Session, session.Image, error) { return record.Session{}, session.Image{}, err }
	if err := q.check(); err != nil {
		return fail(err)
	}
	if err := r.o.checkPorts(q); err != nil {
		return fail(err)
	}
	digest := q.digest()
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
	kernels := r.o.FirstKernel()
	if q.Kernel != "" && q.Kernel != r.o.Kernel {
		kernels = []cellhold.Kernel{terms.FirstKernel(q.Kernel)} // the session starts cold
	}
	id := cellhold.NewSessionID()
	rec := record.Session{
		Session: cellhold.Session{ID: id, User: q.User, State: cellhold.SessionStarting, Image: q.Image, Startup: cmp.Or(q.Prepared, q.Startup),
			Created: now, Used: now, Limits: limits, Egress: out, Secrets: shownSecrets(q.Secrets), Template: q.Template,
			Figures: q.Figures, Meta: q.Meta, Kernels: kernels, PublicPorts: q.PublicPorts},
		Owner: q.Owner, Digest: img.Digest, Vault: vault, Sandbox: record.SandboxID(id, 0), Article: q.Article, Once: q.Once,
		Env: q.Env, Key: q.Key, KeyDigest: digest,
	}
	rec.Dir, rec.Resume = q.Dir, q.Resume
	if q.Deadline != nil {
		q.Deadline.Apply(&rec, now)
	}
	return rec, img, nil
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
		if len(k) > terms.MaxMeta || len(v) > terms.MaxMeta {
			return cellhold.Errorf(cellhold.Invalid, "The metadata entry %.40q is too long: the limit is %d bytes for a key or a value.", k, terms.MaxMeta)
		}
	}
	if q.Deadline != nil {
		if err := q.Deadline.Check(); err != nil {
			return err
		}
	}
	return q.Process.Check()
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
