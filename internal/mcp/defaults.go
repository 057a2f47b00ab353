package mcp

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"cellhold"
)

const (
	// labelKey is the key of the metadata of default sessions. The value is the label.
	labelKey = "mcp.session"
	// defaultLabel is the label if the caller sets none.
	defaultLabel = "default"
	// createTime limits the creation of a session, which continues when its call is cancelled.
	createTime = 2 * time.Minute
	// maxSlots is the number of default sessions that the server remembers. It finds others by their labels.
	maxSlots = 1000
)

// defaults has the default sessions of callers. The zero value is ready for use.
type defaults struct {
	mu    sync.Mutex
	slots map[slotKey]*slot
}

type slotKey struct{ caller, label string }

// slot is one default session. Calls use it one after the other, so that two calls create one session.
type slot struct {
	turn  chan struct{}
	users int                // calls that use or wait for the slot
	id    cellhold.SessionID // "" if it is not known
}

// take returns the slot of a key when no other call uses it. The caller must call release.
func (d *defaults) take(ctx context.Context, key slotKey) (s *slot, release func(), err error) {
	d.mu.Lock()
	if d.slots == nil {
		d.slots = map[slotKey]*slot{}
	}
	if s = d.slots[key]; s == nil {
		s = &slot{turn: make(chan struct{}, 1)}
		d.slots[key] = s
	}
	s.users++
	d.mu.Unlock()
	leave := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if s.users--; s.users == 0 && len(d.slots) > maxSlots {
			delete(d.slots, key)
		}
	}
	select {
	case s.turn <- struct{}{}:
		return s, func() { <-s.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, nil, ctx.Err()
	}
}

// defaultSession returns the caller's default session. If there is none, or if it has ended, defaultSession creates
// one. note says so if an earlier one has ended.
func (s *Server) defaultSession(ctx context.Context, caller Caller) (id cellhold.SessionID, note string, err error) {
	label := cmp.Or(caller.Session, defaultLabel)
	at, release, err := s.defaults.take(ctx, slotKey{caller.Name, label})
	if err != nil {
		return "", "", err
	}
	defer release()
	earlier := at.id
	if at.id != "" {
		found, err := caller.Client.Session(ctx, at.id)
		if err == nil && found.State != cellhold.SessionEnded {
			return at.id, "", nil
		}
		if err != nil && cellhold.KindOf(err) != cellhold.NotFound {
			return "", "", err
		}
		at.id = ""
	}
	ended := cellhold.SessionID("")
	if at.id, ended, err = findDefault(ctx, caller, label); err != nil || at.id != "" {
		return at.id, "", err
	}
	created, err := s.create(ctx, caller, "", label)
	if err != nil {
		return "", "", err
	}
	at.id = created.ID
	if earlier = cmp.Or(earlier, ended); earlier != "" {
		note = fmt.Sprintf("The earlier session %s has ended: its variables and files are lost. This is the new session %s.", earlier, at.id)
	}
	return at.id, note, nil
}

// findDefault returns the newest default session with a label that can be used, and the newest that has ended. Forks
// have the label of their parent, and are not default sessions.
func findDefault(ctx context.Context, caller Caller, label string) (found, ended cellhold.SessionID, err error) {
	all, err := caller.Client.Sessions(ctx)
	if err != nil {
		return "", "", err
	}
	for _, s := range all {
		switch {
		case s.Meta[labelKey] != label || s.Parent != "":
		case s.State != cellhold.SessionEnded:
			return s.ID, "", nil
		case ended == "":
			ended = s.ID
		}
	}
	return "", ended, nil
}

// create creates a session. The creation continues if the call is cancelled: the next call finds the session.
func (s *Server) create(ctx context.Context, caller Caller, template, label string) (cellhold.Session, error) {
	acting, cancel := s.acting(ctx, createTime)
	defer cancel()
	wanted := s.options.Create
	wanted.Template = cmp.Or(template, wanted.Template)
	wanted.Metadata = maps.Clone(wanted.Metadata)
	if wanted.Metadata == nil {
		wanted.Metadata = map[string]string{}
	}
	wanted.Metadata["created_by"] = "mcp"
	if label != "" {
		wanted.Metadata[labelKey] = label
	}
	return caller.Client.CreateSession(acting, wanted)
}
