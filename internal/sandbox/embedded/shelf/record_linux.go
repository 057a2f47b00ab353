package shelf

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

// Record is what is known about a snapshot. What must be equal to continue from it stands in Needs.
type Record struct {
	Name    string
	Key     string // another for each that was ever made under this name
	Created time.Time
	Spec    sandbox.Spec // of the sandbox it was taken of
	Labels  map[string]string
	Needs   map[string]string // what must be as it was, by name, for the reader to compare
	Files   map[string]int64  // the image's files, with their sizes
	Sums    map[string]uint32 `json:",omitempty"` // their checksums; none in records of earlier versions
	Boot    string            // the host's run in which it was made
	Synced  bool              // its bytes have reached the disk

	// Fault says why nothing can continue from it, as far as the shelf can see. It is not on disk.
	Fault string `json:"-"`
}

// Size is how many bytes it takes on disk.
func (r Record) Size() int64 {
	var sum int64
	for _, n := range r.Files {
		sum += n
	}
	return sum
}

// record reads a snapshot's record, and looks for faults.
func (s *Shelf) record(name string) (Record, error) {
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

func (s *Shelf) fault(dir string, r Record) string {
	if !r.Synced && r.Boot != s.o.Boot {
		return "the host went down before it was safely on the disk"
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
			return damaged + ": " + file + " cannot be looked at"
		}
		if info.Size() != size {
			return fmt.Sprintf("%s: %s has %d bytes and not %d", damaged, file, info.Size(), size)
		}
	}
	return ""
}

// save puts a record into a directory, whole or not at all.
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

// sizes lists the files of an image.
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
			return nil, fmt.Errorf("%s is no plain file", e.Name())
		}
		files[e.Name()] = info.Size()
	}
	return files, nil
}
