package command

import (
	"maps"
	"slices"

	"cellhold"
	"cellhold/internal/agent/spool"
)

// Saved is what Commands of another agent need to go on where these are.
type Saved struct {
	spool  *spool.Spool
	byID   map[cellhold.CommandID]int64 // with the number of its last event
	recent []cellhold.CommandID
}

// Save returns it. No command may run.
func (c *Commands) Save() (*Saved, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.still(); err != nil {
		return nil, err
	}
	s := &Saved{spool: c.spool.Copy(), byID: map[cellhold.CommandID]int64{}, recent: slices.Clone(c.recent)}
	for id, x := range c.byID {
		s.byID[id] = x.last
	}
	return s, nil
}

// goOn makes new Commands go on where others were.
func (c *Commands) goOn(s *Saved) {
	c.spool, c.recent = s.spool.Copy(), slices.Clone(s.recent)
	for id, last := range maps.All(s.byID) {
		c.byID[id] = &command{id: id, commands: c, last: last}
	}
}
