// Package terms has the terms that a caller sets for a session or a cell: code, environment, directory, deadline.
//
// It checks them and puts them into records. It does not apply them to sandboxes.
package terms

import (
	"cmp"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/lazy"
	"cellhold/internal/record"
)

const (
	// MaxLifetime is the maximum time to a deadline.
	MaxLifetime = 24 * time.Hour
	// maxKey is the maximum size of an idempotency key. A UUID has 36 bytes.
	maxKey = 255
	// maxEnv and maxEnvBytes limit the environment of a session or a cell.
	maxEnv      = 100
	maxEnvBytes = 64 << 10
)

// Process has the terms of the processes of a session.
type Process struct {
	Env    map[string]string     // added to the environment of kernels and commands
	Dir    string                // working directory; empty: /workspace
	Resume cellhold.ResumePolicy // empty: the next use resumes the session
}

// Check refuses terms that a session cannot have.
func (p Process) Check() error {
	if p.Resume != "" && p.Resume != cellhold.ResumeOnUse && p.Resume != cellhold.ResumeOnRequest {
		return cellhold.Errorf(cellhold.Invalid, "Invalid resume %.20q: use %q or %q.", p.Resume, cellhold.ResumeOnUse, cellhold.ResumeOnRequest)
	}
	if err := CheckDir(p.Dir); err != nil {
		return err
	}
	return CheckEnv(p.Env)
}

// CheckDir refuses a working directory that no kernel can have. An empty text means the default.
func CheckDir(dir string) error {
	if dir == "" {
		return nil
	}
	if !path.IsAbs(dir) || len(dir) > guestapi.MaxFilePath || strings.ContainsRune(dir, 0) || !utf8.ValidString(dir) {
		return cellhold.Errorf(cellhold.Invalid, "Invalid working directory %.100q: use an absolute path of at most %d bytes.", dir, guestapi.MaxFilePath)
	}
	return nil
}

// envName matches the names that all shells accept.
var envName = lazy.Regexp(`^[A-Za-z_][A-Za-z0-9_]*$`)

// CheckEnv refuses an environment that a session or a cell cannot have.
func CheckEnv(env map[string]string) error {
	if len(env) > maxEnv {
		return cellhold.Errorf(cellhold.Invalid, "The environment has %d variables; the limit is %d.", len(env), maxEnv)
	}
	size := 0
	for name, value := range env {
		if !envName().MatchString(name) {
			return cellhold.Errorf(cellhold.Invalid, "Invalid variable name %.40q: use letters, digits and '_', and do not begin with a digit.", name)
		}
		if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
			return cellhold.Errorf(cellhold.Invalid, "The variable %.40q has an invalid value: use UTF-8 text without zero bytes.", name)
		}
		size += len(name) + len(value)
	}
	if size > maxEnvBytes {
		return cellhold.Errorf(cellhold.Invalid, "The environment has %d bytes; the limit is %d.", size, maxEnvBytes)
	}
	return nil
}

// CheckKey refuses an invalid idempotency key.
func CheckKey(key string) error {
	if len(key) > maxKey || !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return cellhold.Errorf(cellhold.Invalid, "Invalid idempotency key %.40q: use text of at most %d bytes without control characters.", key, maxKey)
	}
	return nil
}

// Deadline describes a deadline.
type Deadline struct {
	Lifetime time.Duration           // from now; must be positive
	Action   cellhold.DeadlineAction // empty: the present action, or DeadlineEnd
	Extend   bool                    // keep a later deadline, and no deadline
	Running  bool                    // refuse a paused session
}

// Check refuses an invalid deadline.
func (d Deadline) Check() error {
	if d.Lifetime <= 0 || d.Lifetime > MaxLifetime {
		return cellhold.Errorf(cellhold.Invalid, "Invalid time to the deadline %s: use more than 0 and at most %s.", d.Lifetime, MaxLifetime)
	}
	if d.Action != "" && d.Action != cellhold.DeadlineEnd && d.Action != cellhold.DeadlineHibernate {
		return cellhold.Errorf(cellhold.Invalid, "Invalid action %.20q at the deadline: use %q or %q.", d.Action, cellhold.DeadlineEnd, cellhold.DeadlineHibernate)
	}
	return nil
}

// Allowed refuses a session whose deadline cannot be set. The caller must hold the turn of the session.
func (d Deadline) Allowed(r record.Session, now time.Time) error {
	if r.State == cellhold.SessionEnded || d.Running && r.Paused(now) {
		return cellhold.Errorf(cellhold.Conflict, "The deadline cannot be set: the session is %s.", r.State)
	}
	return nil
}

// Apply sets the deadline in a record.
func (d Deadline) Apply(r *record.Session, now time.Time) {
	if d.Extend && r.Deadline.IsZero() {
		return // the session ends only when it is idle, so every deadline would shorten its life
	}
	if at := now.Add(d.Lifetime); !d.Extend || at.After(r.Deadline) {
		r.Deadline, r.Lifetime = at, d.Lifetime
	}
	r.AtDeadline = cmp.Or(d.Action, r.AtDeadline, cellhold.DeadlineEnd)
}

// Renew begins the time to the deadline again when a session resumes after a requested hibernation, or after one at
// its deadline.
func Renew(r *record.Session, now time.Time) {
	if at := now.Add(r.Lifetime); !r.Deadline.IsZero() && r.Paused(now) && at.After(r.Deadline) {
		r.Deadline = at
	}
	r.Idle = false
}

// MakeReady changes a record: the session is ready, in a sandbox.
func MakeReady(r *record.Session, sandbox string) {
	Renew(r, time.Now().UTC())
	r.State, r.Snapshot, r.Boot = cellhold.SessionReady, "", ""
	r.Sandbox, r.Used = sandbox, time.Now().UTC()
}

// MarkEnded changes a record to that of an ended session. From then on the session accepts no calls.
func MarkEnded(reason cellhold.EndReason) func(*record.Session) {
	return func(r *record.Session) {
		r.State, r.Reason, r.Used = cellhold.SessionEnded, reason, time.Now().UTC()
		r.Vault, r.Env, r.Key, r.KeyDigest = nil, nil, "", "" // they can be secret, and are no longer needed
		r.Snapshot, r.Checkpoints = "", nil
	}
}
