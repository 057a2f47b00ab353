package e2b

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
)

const (
	// envdVersion is the version of E2B's daemon that package envd behaves like. The SDKs do not use the features of
	// later versions.
	envdVersion = "0.5.7"
	// home is the working directory of sandboxes.
	home = "/home/user"
	// defaultLifetime is the time to the deadline if the request has none.
	defaultLifetime = 5 * time.Minute
)

// newSandbox is the body of a request for a sandbox.
type newSandbox struct {
	TemplateID     string            `json:"templateID"`
	Timeout        *int64            `json:"timeout"` // seconds
	Metadata       map[string]string `json:"metadata"`
	Env            map[string]string `json:"envVars"`
	InternetAccess *bool             `json:"allow_internet_access"`
	Network        *network          `json:"network"`
	AutoPause      bool              `json:"autoPause"`
	KeepMemory     *bool             `json:"autoPauseMemory"`
	AutoResume     *struct {
		Enabled bool `json:"enabled"`
	} `json:"autoResume"`
	MCP     json.RawMessage `json:"mcp"`
	IAM     json.RawMessage `json:"iam"`
	Volumes json.RawMessage `json:"volumeMounts"`
}

// created is the answer to a request that gives access to a sandbox.
type created struct {
	SandboxID    string  `json:"sandboxID"`
	TemplateID   string  `json:"templateID"`
	ClientID     string  `json:"clientID"`
	EnvdVersion  string  `json:"envdVersion"`
	EnvdToken    string  `json:"envdAccessToken"`
	TrafficToken string  `json:"trafficAccessToken"`
	Domain       *string `json:"domain"`
}

// clientID is the same for all sandboxes. E2B names the machine there.
const clientID = "cellhold"

func (d *door) created(r *http.Request, s *session.Session) created {
	tokens := d.Access.Tokens(s)
	return created{SandboxID: string(s.ID()), TemplateID: templateOf(s.Record().Session), ClientID: clientID, EnvdVersion: envdVersion,
		EnvdToken: tokens.Envd, TrafficToken: tokens.Traffic, Domain: d.domain(r)}
}

// domain returns the domain of a sandbox's hosts, with the port of the server. It returns nil if the server has no names.
// The SDKs then use E2B's own domain for get_host, unless the client sets one.
func (d *door) domain(r *http.Request) *string {
	if len(d.Names) == 0 {
		return nil
	}
	host, port := strings.ToLower(r.Host), ""
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, ":"+p
	}
	if !slices.Contains(d.Names, host) {
		host = d.Names[0]
	}
	domain := host + port
	return &domain
}

// templateOf returns the template of a session as E2B names it.
func templateOf(s cellhold.Session) string { return cmp.Or(s.Template, s.Image) }

func (d *door) create(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	var q newSandbox
	err := exchange.DecodeJSON(r, &q)
	if err == nil {
		err = q.check()
	}
	if err != nil {
		return 0, nil, err
	}
	deadline, err := lifetime(q.Timeout)
	if err != nil {
		return 0, nil, err
	}
	deadline.Action = cellhold.DeadlineEnd
	if q.AutoPause {
		deadline.Action = cellhold.DeadlineHibernate
	}
	create, key := d.start, r.Header.Get("Idempotency-Key")
	if isSnapshot(q.TemplateID) {
		create = d.fromSnapshot
	}
	s, err := create(r.Context(), caller, q, deadline, key)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, d.created(r, s), nil
}

// resume returns what resumes a paused sandbox.
func (q *newSandbox) resume() cellhold.ResumePolicy {
	if q.AutoResume != nil && q.AutoResume.Enabled {
		return cellhold.ResumeOnUse
	}
	return cellhold.ResumeOnRequest
}

// check refuses what this server does not have.
func (q *newSandbox) check() error {
	switch {
	case isSet(q.MCP):
		return cellhold.Errorf(cellhold.Unsupported, "This server has no MCP gateway in sandboxes. It has tools for agents at /mcp.")
	case isSet(q.IAM):
		return cellhold.Errorf(cellhold.Unsupported, "This server gives no identity tokens to sandboxes.")
	case isSet(q.Volumes):
		return cellhold.Errorf(cellhold.Unsupported, "This server has no volumes.")
	case q.KeepMemory != nil && !*q.KeepMemory:
		return cellhold.Errorf(cellhold.Unsupported, "A pause always keeps the memory: omit keepMemory.")
	}
	return nil
}

// start creates the session of a sandbox.
func (d *door) start(ctx context.Context, caller string, q newSandbox, deadline terms.Deadline, key string) (*session.Session, error) {
	egress, err := q.egress()
	if err != nil {
		return nil, err
	}
	env := map[string]string{"E2B_SANDBOX": "true"}
	for name, value := range q.Env {
		env[name] = value
	}
	c := registry.CreateRequest{Owner: caller, Meta: q.Metadata, Egress: egress, Deadline: &deadline, Key: key, Prepared: pythonStartup,
		Process: terms.Process{Env: env, Dir: home, Resume: q.resume()}, PublicPorts: q.Network.isPublic(d.Sessions.PublicPorts())}
	c.Template, c.Image = d.source(q.TemplateID)
	s, err := d.Sessions.Create(ctx, c)
	if c.Image != "" && cellhold.KindOf(err) == cellhold.NotFound {
		return nil, cellhold.Wrap(cellhold.NotFound, err, "template '%.100s' not found", q.TemplateID)
	}
	return s, err
}

// defaultTemplates are E2B's names of the template that sandboxes have by default.
var defaultTemplates = map[string]bool{"": true, "base": true, "code-interpreter-v1": true, "code-interpreter": true}

// source returns the template or the image with a name. Both are empty for the default.
func (d *door) source(name string) (template, image string) {
	if defaultTemplates[name] {
		return "", ""
	}
	for _, t := range d.Sessions.Templates() {
		if t.Name == name {
			return name, ""
		}
	}
	return "", name
}

// lifetime converts a timeout in seconds. Zero means at once.
func lifetime(timeout *int64) (terms.Deadline, error) {
	if timeout == nil {
		return terms.Deadline{Lifetime: defaultLifetime}, nil
	}
	if *timeout < 0 || *timeout > int64(terms.MaxLifetime/time.Second) {
		return terms.Deadline{}, cellhold.Errorf(cellhold.Invalid, "Timeout cannot be greater than %d hours, or negative.", terms.MaxLifetime/time.Hour)
	}
	return terms.Deadline{Lifetime: max(time.Duration(*timeout)*time.Second, time.Millisecond)}, nil
}

// fromSnapshot creates a sandbox from a snapshot of another sandbox.
func (d *door) fromSnapshot(ctx context.Context, caller string, q newSandbox, deadline terms.Deadline, key string) (*session.Session, error) {
	if len(q.Env) > 0 || len(q.Metadata) > 0 || q.Network != nil || q.InternetAccess != nil {
		return nil, cellhold.Errorf(cellhold.Unsupported, "A sandbox from a snapshot has the variables, the metadata and the network access of the snapshot's sandbox: omit them.")
	}
	id, name, _ := readSnapshot(q.TemplateID)
	parent, err := d.Sessions.Session(ctx, caller, id)
	if err != nil {
		return nil, cellhold.Errorf(cellhold.NotFound, "template '%.100s' not found", q.TemplateID)
	}
	ctx, cancel := exchange.Act(ctx)
	defer cancel()
	forks, err := d.Sessions.Fork(ctx, parent, terms.Fork{Count: 1, Checkpoint: name, Deadline: &deadline, Resume: q.resume(), Key: key})
	if err != nil {
		return nil, err
	}
	return forks[0], nil
}

// isSnapshot reports whether the name of a template is the id of a snapshot.
func isSnapshot(template string) bool {
	_, _, ok := readSnapshot(template)
	return ok
}

// readSnapshot reads the id of a snapshot: the sandbox and the name of its checkpoint.
func readSnapshot(text string) (id cellhold.SessionID, name string, ok bool) {
	sandbox, name, ok := strings.Cut(text, ":")
	if !ok || !strings.HasPrefix(sandbox, "s") || len(sandbox) != len(cellhold.NewSessionID()) {
		return "", "", false
	}
	return cellhold.SessionID(sandbox), name, true
}
