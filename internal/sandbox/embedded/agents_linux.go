package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
)

// needsAgent is what a sandbox's agent is called among what its continuations need. They go on in the middle
// of its program, so they need that very one.
const needsAgent = "agent"

// agent is a guest's binary.
type agent struct{ path, digest string }

// openAgents looks for the agents of what is saved and of what lives.
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
			d.log.Warn("the agent of something saved is not there", "digest", digest, "error", err)
			continue
		}
		d.agents[digest] = agent{path, digest}
	}
	return nil
}

// PruneGuests removes the binaries of other builds that neither a snapshot nor a sandbox needs. Only the one
// server of this driver's directories may call it, before it does anything else: what is on its way from the one
// to the other could be overlooked.
func (d *Driver) PruneGuests() error {
	if d.guests == nil {
		return nil
	}
	needed, err := d.neededAgents()
	if err == nil {
		err = d.guests.Prune(needed)
	}
	if err != nil {
		return fmt.Errorf("remove guest binaries that nothing needs: %w", err)
	}
	return nil
}

// neededAgents are the digests of the agents that snapshots and sandboxes run.
func (d *Driver) neededAgents() (map[string]bool, error) {
	needed := map[string]bool{}
	snapshots, err := d.shelf.List()
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
		// One without a readable record has no future.
		if r, err := load(d.paths(id)); err == nil && r.Needs[needsAgent] != "" {
			needed[r.Needs[needsAgent]] = true
		}
	}
	return needed, nil
}

// with returns needs and an agent.
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
