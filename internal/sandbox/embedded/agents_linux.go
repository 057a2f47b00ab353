package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
)

// needsAgent is the key of the agent among the needs of a snapshot. A restored sandbox continues in the middle of the
// agent's program, so it needs the same binary.
const needsAgent = "agent"

// agent is a binary of the agent.
type agent struct{ path, digest string }

// openAgents finds the agents of all snapshots and running sandboxes.
func (d *Driver) openAgents() (err error) {
	if d.agent.digest, err = digestOf(d.agent.path); err != nil {
		return fmt.Errorf("guest binary: %w", err)
	}
	d.agents = map[string]agent{d.agent.digest: d.agent}
	if d.guests == nil {
		return nil
	}
	needed, err := d.neededAgents()
	if err != nil {
		return fmt.Errorf("guest binaries: %w", err)
	}
	for digest := range needed {
		if d.agents[digest].path != "" {
			continue
		}
		path, err := d.guests.Find(digest)
		if err != nil {
			d.log.Warn("the agent of a snapshot or sandbox is missing", "digest", digest, "error", err)
			continue
		}
		d.agents[digest] = agent{path, digest}
	}
	return nil
}

// PruneGuests removes the agents of other builds that no snapshot and no sandbox needs. Only the server that owns this
// driver's directories can call it, and only before any other use of the driver: it could miss a sandbox that is being
// created from a snapshot at the same time.
func (d *Driver) PruneGuests() error {
	if d.guests == nil {
		return nil
	}
	needed, err := d.neededAgents()
	if err == nil {
		err = d.guests.Prune(needed)
	}
	if err != nil {
		return fmt.Errorf("remove unused guest binaries: %w", err)
	}
	return nil
}

// neededAgents returns the digests of the agents of all snapshots and sandboxes.
func (d *Driver) neededAgents() (map[string]bool, error) {
	needed := map[string]bool{}
	snapshots, err := d.store.List()
	if err != nil {
		return nil, err
	}
	for _, r := range snapshots {
		if digest := r.Needs[needsAgent]; digest != "" {
			needed[digest] = true
		}
	}
	ids, err := d.ids()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		// A sandbox without a readable record cannot be adopted.
		if r, err := load(d.paths(id)); err == nil && r.Needs[needsAgent] != "" {
			needed[r.Needs[needsAgent]] = true
		}
	}
	return needed, nil
}

// with returns needs with an agent added.
func with(needs map[string]string, a agent) map[string]string {
	all := maps.Clone(needs)
	all[needsAgent] = a.digest
	return all
}

func digestOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
