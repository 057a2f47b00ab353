package snapshots

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cellhold/internal/sandbox"
)

// Record describes a snapshot.
type Record struct {
	Name    string
	Key     string // unique for each snapshot with this name
	Created time.Time
	Spec    sandbox.Spec // of the saved sandbox
	Labels  map[string]string
	Needs   map[string]string // requirements of a restore, by name; the driver checks them
	Files   map[string]int64  // the saved files, with their sizes
	Sums    map[string]uint32 `json:",omitempty"` // checksums of the files; missing in records of earlier versions
	Boot    string            // the host's boot in which the snapshot was made
	Synced  bool              // the bytes have reached the disk

	// Fault is the reason why the snapshot cannot be restored, as far as this package can see. It is not on disk.
	Fault string `json:"-"`
}

// Size returns the snapshot's size on disk in bytes.
func (r Record) Size() int64 {
	var sum int64
	for _, n := range r.Files {
		sum += n
	}
	return sum
}

// record reads a snapshot's record and sets its fault.
func (s *Store) record(name string) (Record, error) {
	dir := filepath.Join(s.o.Dir, name)
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return Record{}, err
	}
	r := Record{}
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("its record is damaged: %w", err)
	}
	r.Name = name
	r.Fault = s.fault(dir, r)
	return r, nil
}

func (s *Store) fault(dir string, r Record) string {
	if !r.Synced && r.Boot != s.o.Boot {
		return "the host stopped before the snapshot was synced to the disk"
	}
	if len(r.Files) == 0 {
		return "its image is missing"
	}
	for file, size := range r.Files {
		info, err := os.Lstat(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			return damaged + ": " + file + " is missing"
		}
		if err != nil {
			return damaged + ": " + file + " cannot be read"
		}
		if info.Size() != size {
			return fmt.Sprintf("%s: %s has %d bytes, want %d", damaged, file, info.Size(), size)
		}
	}
	return ""
}

// save writes the record into a directory atomically.
func (r Record) save(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, recordFile+".new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	if r.Synced {
		if err := syncFile(tmp); err != nil {
			return err
		}
	}
	return os.Rename(tmp, filepath.Join(dir, recordFile))
}

// sizes returns the files of a directory with their sizes.
func sizes(dir string) (map[string]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", e.Name())
		}
		files[e.Name()] = info.Size()
	}
	return files, nil
}
