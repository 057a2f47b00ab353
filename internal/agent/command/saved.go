package command

import (
	"maps"
	"slices"

	"cellhold"
	"cellhold/internal/agent/spool"
)

// Saved is the state with which the Commands of another agent continue these Commands.
type Saved struct {
	spool  *spool.Spool
	byID   map[cellhold.CommandID]int64 // numbers of the last events
	recent []cellhold.CommandID
}

// Save returns the state of the commands. All commands must have ended.
func (c *Commands) Save() (*Saved, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.checkIdle(); err != nil {
		return nil, err
	}
	s := &Saved{spool: c.spool.Copy(), byID: map[cellhold.CommandID]int64{}, recent: slices.Clone(c.recent)}
	for id, x := range c.byID {
		s.byID[id] = x.last
	}
	return s, nil
}

// restore makes new Commands continue a saved state.
func (c *Commands) restore(s *Saved) {
	c.spool, c.recent = s.spool.Copy(), slices.Clone(s.recent)
	for id, last := range maps.All(s.byID) {
		c.byID[id] = &command{id: id, commands: c, last: last}
	}
}
