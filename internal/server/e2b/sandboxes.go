package e2b

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
)

// sandbox is a session in the form that E2B's clients read.
type sandbox struct {
	SandboxID   string            `json:"sandboxID"`
	TemplateID  string            `json:"templateID"`
	Alias       string            `json:"alias"`
	ClientID    string            `json:"clientID"`
	StartedAt   time.Time         `json:"startedAt"`
	EndAt       time.Time         `json:"endAt"`
	State       string            `json:"state"`
	CPUCount    int               `json:"cpuCount"`
	MemoryMB    int64             `json:"memoryMB"`
	DiskSizeMB  int64             `json:"diskSizeMB"`
	EnvdVersion string            `json:"envdVersion"`
	Metadata    map[string]string `json:"metadata"`
	Internet    bool              `json:"allowInternetAccess"`
	Network     shownNetwork      `json:"network"`
	Lifecycle   lifecycle         `json:"lifecycle"`
	Domain      *string           `json:"domain"`

	position position
}

type lifecycle struct {
	OnTimeout  string `json:"onTimeout"` // kill or pause
	AutoResume bool   `json:"autoResume"`
}

// The states of sandboxes.
const (
	running = "running"
	paused  = "paused"
)

// describe returns a sandbox as E2B shows it.
func (d *door) describe(s *session.Session) sandbox {
	rec, info := s.Record(), s.Info()
	shows := sandbox{position: position{info.Created.UnixNano(), rec.ID}, SandboxID: string(rec.ID), TemplateID: templateOf(info), Alias: templateOf(info), ClientID: clientID,
		StartedAt: millis(info.Created), EndAt: millis(info.Expires), State: running, CPUCount: max(int(math.Ceil(info.Limits.CPU)), 1),
		MemoryMB: info.Limits.Memory >> 20, DiskSizeMB: info.Limits.Disk >> 20, EnvdVersion: envdVersion, Metadata: info.Meta,
		Lifecycle: lifecycle{OnTimeout: "kill", AutoResume: info.Resume != cellhold.ResumeOnRequest}}
	if shows.Metadata == nil {
		shows.Metadata = map[string]string{}
	}
	if !rec.Deadline.IsZero() {
		shows.EndAt = millis(rec.Deadline)
	}
	if rec.AtDeadline == cellhold.DeadlineHibernate {
		shows.Lifecycle.OnTimeout = "pause"
	}
	if !access.Running(s) {
		shows.State = paused
	}
	shows.Network, shows.Internet = shown(info.Egress)
	shows.Network.AllowPublicTraffic = d.Access.Public(s)
	return shows
}

// millis returns a time as E2B writes it.
func millis(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func (d *door) info(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	s, err := d.session(r, caller)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, d.describe(s), nil
}

func (d *door) kill(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	s, err := d.session(r, caller)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := acting(r)
	defer cancel()
	return http.StatusNoContent, nil, s.End(ctx)
}

// timeoutBody is the body of requests to set the deadline, to pause a sandbox, or to connect to it.
type timeoutBody struct {
	Timeout  *int64 `json:"timeout"`
	Duration *int64 `json:"duration"`
	Memory   *bool  `json:"memory"`
}

func (d *door) setTimeout(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	return d.prolong(r, caller, false)
}

func (d *door) refresh(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	return d.prolong(r, caller, true)
}

// prolong sets the deadline of a running sandbox. If extend is set, it keeps a later deadline, and sets none if the
// session has none.
func (d *door) prolong(r *http.Request, caller string, extend bool) (int, any, error) {
	s, err := d.session(r, caller)
	if err != nil {
		return 0, nil, err
	}
	var q timeoutBody
	if err := exchange.DecodeJSON(r, &q); err != nil {
		return 0, nil, err
	}
	deadline, err := lifetime(cmp.Or(q.Timeout, q.Duration))
	if err != nil {
		return 0, nil, err
	}
	deadline.Running, deadline.Extend = true, extend
	err = s.SetDeadline(r.Context(), deadline)
	if cellhold.KindOf(err) == cellhold.Conflict {
		err = cellhold.Wrap(cellhold.NotFound, err, "Sandbox %.40q is paused or has ended: connect to it first.", s.ID())
	}
	return http.StatusNoContent, nil, err
}

func (d *door) pause(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	s, err := d.session(r, caller)
	if err != nil {
		return 0, nil, err
	}
	var q timeoutBody
	if err := exchange.DecodeJSON(r, &q); err != nil {
		return 0, nil, err
	}
	if q.Memory != nil && !*q.Memory {
		return 0, nil, cellhold.Errorf(cellhold.Unsupported, "A pause always keeps the memory: omit keepMemory.")
	}
	if !access.Running(s) {
		return 0, nil, cellhold.Errorf(cellhold.Conflict, "Sandbox %.40q is paused already.", s.ID())
	}
	ctx, cancel := acting(r)
	defer cancel()
	err = s.Hibernate(ctx)
	if cellhold.KindOf(err) == cellhold.Conflict { // the SDKs take 409 as "paused already"
		err = cellhold.Wrap(cellhold.Invalid, err, "The sandbox cannot be paused now: %s", err.Error())
	}
	return http.StatusNoContent, nil, err
}

// connect gives access to a sandbox, and resumes it if it is paused. It never makes the deadline of a running sandbox
// earlier. It sets no deadline for a session that has none.
func (d *door) connect(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	s, err := d.session(r, caller)
	if err != nil {
		return 0, nil, err
	}
	var q timeoutBody
	if err := exchange.DecodeJSON(r, &q); err != nil {
		return 0, nil, err
	}
	if q.Memory != nil && !*q.Memory {
		return 0, nil, cellhold.Errorf(cellhold.Unsupported, "A sandbox always resumes with its memory: omit onResume.")
	}
	deadline, err := lifetime(q.Timeout)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := acting(r)
	defer cancel()
	status := http.StatusOK
	deadline.Running, deadline.Extend = true, true
	err = s.SetDeadline(ctx, deadline)
	if cellhold.KindOf(err) == cellhold.Conflict { // it is paused
		status = http.StatusCreated
		if err = s.Resume(ctx); err == nil {
			deadline.Running, deadline.Extend = false, s.Record().Deadline.IsZero()
			err = s.SetDeadline(ctx, deadline)
		}
	}
	if err != nil {
		return 0, nil, err
	}
	return status, d.created(r, s), nil
}

const (
	// maxPage is the maximum number of sandboxes in one page, and the default.
	maxPage = 100
	// nextHeader has the token of the next page, and tokenParam asks for that page.
	nextHeader = "X-Next-Token"
	tokenParam = "nextToken"
)

// filter selects sandboxes.
type filter struct {
	metadata url.Values
	states   []string
	after    time.Time
	template string
}

func readFilter(q url.Values) (f filter, err error) {
	if text := q.Get("metadata"); text != "" {
		pairs, err := url.ParseQuery(text)
		if err != nil {
			return f, cellhold.Errorf(cellhold.Invalid, "Invalid metadata %.100q: use URL-encoded pairs.", text)
		}
		f.metadata = url.Values{}
		for key, values := range pairs { // the SDKs encode keys and values twice
			f.metadata.Set(decoded(key), decoded(values[0]))
		}
	}
	for _, text := range q["state"] {
		f.states = append(f.states, strings.Split(text, ",")...)
	}
	if text := q.Get("startedAfter"); text != "" {
		if f.after, err = time.Parse(time.RFC3339, text); err != nil {
			return f, cellhold.Errorf(cellhold.Invalid, "Invalid startedAfter %.40q: use a time such as 2026-01-02T15:04:05Z.", text)
		}
	}
	f.template = q.Get("template")
	return f, nil
}

func decoded(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

func (f filter) matches(s sandbox, isDefault bool) bool {
	for key := range f.metadata {
		if value, ok := s.Metadata[key]; !ok || value != f.metadata.Get(key) {
			return false
		}
	}
	switch {
	case len(f.states) > 0 && !slices.Contains(f.states, s.State):
		return false
	case f.template == "", f.template == s.TemplateID, defaultTemplates[f.template] && isDefault:
	default:
		return false
	}
	return f.after.IsZero() || s.StartedAt.After(f.after)
}

func (d *door) list(w http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	q := r.URL.Query()
	f, err := readFilter(q)
	if err != nil {
		return 0, nil, err
	}
	limit := maxPage
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return 0, nil, cellhold.Errorf(cellhold.Invalid, "Invalid limit %.20q: use 1 to %d.", text, maxPage)
		}
	}
	order := position.newestFirst
	if q.Get("order") == "asc" {
		order = func(a, b position) int { return b.newestFirst(a) }
	}
	all := d.matching(r.Context(), caller, f)
	slices.SortFunc(all, func(a, b sandbox) int { return order(a.position, b.position) })
	if token := q.Get(tokenParam); token != "" {
		after, err := readPosition(token)
		if err != nil {
			return 0, nil, err
		}
		all = slices.DeleteFunc(all, func(s sandbox) bool { return order(s.position, after) <= 0 })
	}
	if len(all) > limit {
		all = all[:limit]
		w.Header().Set(nextHeader, all[limit-1].position.String())
	}
	return http.StatusOK, all, nil
}

// matching returns the sandboxes of a caller that match a filter.
func (d *door) matching(ctx context.Context, caller string, f filter) []sandbox {
	list := []sandbox{}
	for _, info := range d.Sessions.List(caller) {
		s, err := d.Sessions.Session(ctx, caller, info.ID)
		if err != nil || info.State != cellhold.SessionReady && info.State != cellhold.SessionHibernated {
			continue
		}
		if shown := d.describe(s); f.matches(shown, d.hasDefaultTemplate(info)) {
			list = append(list, shown)
		}
	}
	return list
}

// hasDefaultTemplate reports whether a session has the default template.
func (d *door) hasDefaultTemplate(s cellhold.Session) bool {
	if all := d.Sessions.Templates(); len(all) > 0 {
		return s.Template == all[0].Name
	}
	return s.Template == ""
}

// forkResult is one fork in the answer. E2B's API has an object around each fork.
type forkResult struct {
	Sandbox *created `json:"sandbox,omitempty"`
}

func (d *door) fork(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	s, err := d.session(r, caller)
	if err != nil {
		return 0, nil, err
	}
	var q struct {
		Timeout *int64 `json:"timeout"`
		Count   *int   `json:"count"`
	}
	if err := exchange.DecodeJSON(r, &q); err != nil {
		return 0, nil, err
	}
	deadline, err := lifetime(q.Timeout)
	if err != nil {
		return 0, nil, err
	}
	count := 1
	if q.Count != nil {
		count = *q.Count
	}
	ctx, cancel := acting(r)
	defer cancel()
	forks, err := d.Sessions.Fork(ctx, s, terms.Fork{Count: count, Deadline: &deadline})
	if err != nil {
		return 0, nil, err
	}
	results := []forkResult{}
	for _, f := range forks {
		access := d.created(r, f)
		results = append(results, forkResult{Sandbox: &access})
	}
	return http.StatusCreated, results, nil
}
