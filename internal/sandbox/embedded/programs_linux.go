package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"cellhold/internal/sandbox/embedded/runner"
)

// Keys among the needs of a snapshot, for the programs that it was made with. Records of earlier versions have neither
// a runner nor a contract.
const (
	needsAgent    = "agent"
	needsGVisor   = "gVisor"
	needsRunner   = "runner"
	needsContract = "runner contract"
)

// agent is a build of the agent. A restored sandbox continues in the middle of the agent's program, so it needs the
// same build.
type agent struct{ path, digest string }

// runnerBuild is a build of the runner. Only a runner with the same version of gVisor can read the saved state of a
// sandbox.
type runnerBuild struct{ path, digest, gVisor string }

// programs are the programs of one sandbox.
type programs struct {
	agent  agent
	runner runnerBuild
}

// needs returns the programs' part of the needs of a snapshot.
func (p programs) needs() map[string]string {
	return map[string]string{
		needsAgent: p.agent.digest, needsGVisor: p.runner.gVisor,
		needsRunner: p.runner.digest, needsContract: runner.Contract,
	}
}

// runnerFor returns the runner of a sandbox or a snapshot, or the reason why there is none. The runner of this build is
// used for every sandbox of its gVisor, so that corrections reach the sandboxes of earlier builds.
func (d *Driver) runnerFor(needs map[string]string) (runnerBuild, string) {
	version, known := needs[needsGVisor]
	if !known || version == d.runner.gVisor {
		return d.runner, ""
	}
	path := d.former[needs[needsRunner]]
	switch {
	case needs[needsContract] != runner.Contract:
		return runnerBuild{}, "it was made with another gVisor, which this version cannot start"
	case path == "":
		return runnerBuild{}, "it was made with another gVisor, and the runner of that gVisor is missing"
	}
	return runnerBuild{path: path, digest: needs[needsRunner], gVisor: version}, ""
}

// openPrograms finds the agents and runners of all snapshots and running sandboxes.
func (d *Driver) openPrograms() (err error) {
	if d.agent.digest, err = digestOf(d.agent.path); err != nil {
		return fmt.Errorf("guest binary: %w", err)
	}
	d.agents, d.former = map[string]agent{d.agent.digest: d.agent}, map[string]string{}
	all, err := d.allNeeds()
	if err != nil {
		return fmt.Errorf("builds of other versions: %w", err)
	}
	agents, runners := map[string]bool{}, map[string]bool{}
	for _, needs := range all {
		agents[needs[needsAgent]] = true
		if needs[needsGVisor] != d.runner.gVisor {
			runners[needs[needsRunner]] = true
		}
	}
	delete(agents, d.agent.digest)
	for digest, path := range d.find("agent", d.guests, agents) {
		d.agents[digest] = agent{path, digest}
	}
	if d.former = d.find("runner", d.runners, runners); len(d.former) > 0 {
		d.log.Warn("some snapshots or sandboxes use the gVisor of another version, without the corrections of this one")
	}
	return nil
}

// find returns the paths of the builds with these digests, except those that are missing.
func (d *Driver) find(what string, builds Builds, digests map[string]bool) map[string]string {
	paths := map[string]string{}
	if builds == nil {
		return paths
	}
	for digest := range digests {
		if digest == "" {
			continue
		}
		path, err := builds.Find(digest)
		if err != nil {
			d.log.Warn("the "+what+" of a snapshot or sandbox is missing", "digest", digest, "error", err)
			continue
		}
		paths[digest] = path
	}
	return paths
}

// PruneBuilds removes the agents and runners of other builds that no snapshot and no sandbox needs. Only the server that
// owns this driver's directories can call it, and only before any other use of the driver: it could miss a sandbox that
// is being created from a snapshot at the same time.
func (d *Driver) PruneBuilds() error {
	all, err := d.allNeeds()
	if err != nil {
		return fmt.Errorf("remove unused builds: %w", err)
	}
	for key, builds := range map[string]Builds{needsAgent: d.guests, needsRunner: d.runners} {
		if builds == nil {
			continue
		}
		needed := map[string]bool{}
		for _, needs := range all {
			if digest := needs[key]; digest != "" {
				needed[digest] = true
			}
		}
		if err := builds.Prune(needed); err != nil {
			return fmt.Errorf("remove unused builds: %w", err)
		}
	}
	return nil
}

// allNeeds returns the needs of all snapshots and sandboxes.
func (d *Driver) allNeeds() ([]map[string]string, error) {
	var all []map[string]string
	snapshots, err := d.store.List()
	if err != nil {
		return nil, err
	}
	for _, r := range snapshots {
		all = append(all, r.Needs)
	}
	ids, err := d.ids()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		// A sandbox without a readable record cannot be adopted.
		if r, err := load(d.paths(id)); err == nil {
			all = append(all, r.Needs)
		}
	}
	return all, nil
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
