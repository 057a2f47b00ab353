package embedded

import (
	"cellhold/internal/sandbox/embedded/process"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cellhold/internal/sandbox"
)

// record is what the driver knows about a sandbox. It is written before the sandbox's first process starts, and again
// with the processes when they run.
type record struct {
	ID      sandbox.ID
	Created time.Time
	Image   string
	Labels  map[string]string
	Spec    sandbox.Spec      // as given to Create, without the labels
	Needs   map[string]string // requirements of a restore, see needs
	Saving  bool              // the sandbox is being paused or saved, and may be paused
	Boot    string            // the host's boot id: process ids are invalid after a reboot
	Sentry  process.Process   // zero while the sandbox is being created
	Gofer   process.Process
	Paused  bool `json:"Suspended"` // the key of existing records
}

// paths are the files and directories of one sandbox.
type paths struct {
	dir, record, lock, in, out, bundle, pids, gvisor, disk, panics string
}

func (d *Driver) paths(id sandbox.ID) paths {
	dir := filepath.Join(d.dir, string(id))
	return paths{
		dir:    dir,
		record: filepath.Join(dir, "record.json"),
		lock:   filepath.Join(dir, "lock"),
		in:     filepath.Join(dir, "in"),
		out:    filepath.Join(dir, "out"),
		bundle: filepath.Join(dir, "bundle"),
		pids:   filepath.Join(dir, "pids"),
		gvisor: filepath.Join(dir, gvisorDir),
		disk:   filepath.Join(dir, "disk"),
		panics: filepath.Join(dir, "panic.log"),
	}
}

// save replaces the record atomically, even if the server is killed. It does not sync: a sandbox does not outlive the
// host's boot.
func (r *record) save(p paths) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp := p.record + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, p.record)
}

// load reads the record. fs.ErrNotExist means that the creation did not get that far.
func load(p paths) (*record, error) {
	data, err := os.ReadFile(p.record)
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("record %s: %w", p.record, err)
	}
	if r.Boot != bootID() {
		r.Sentry, r.Gofer = process.Process{}, process.Process{}
	}
	return r, nil
}

// ids returns the ids of all sandboxes that have a directory.
func (d *Driver) ids() ([]sandbox.ID, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	var ids []sandbox.ID
	for _, e := range entries {
		if id := sandbox.ID(e.Name()); e.IsDir() && checkID(id) == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// bootID returns an id that changes with every boot of the host.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
