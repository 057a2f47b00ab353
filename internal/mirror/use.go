package mirror

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"cellhold/internal/guestapi"
)

// use is what a folder holds.
type use struct {
	bytes   int64
	entries int              // files and directories
	sizes   map[string]int64 // of files; -1 of directories
}

// measure looks at all of a folder. What is being copied by other sessions is not there yet.
func measure(root *os.Root) (use, error) {
	u := use{sizes: map[string]int64{}}
	err := fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || p == "." || strings.HasPrefix(p, temporary):
			return err
		case d.IsDir():
			u.add(p, -1)
			return nil
		}
		info, err := d.Info()
		if err == nil {
			u.add(p, info.Size())
		}
		return err
	})
	return u, err
}

func (u *use) add(p string, size int64) {
	u.sizes[p] = size
	u.entries++
	u.bytes += max(size, 0)
}

// admit notes a file that is to be copied, with the directories that it needs, or refuses it.
func (u *use) admit(f guestapi.File, limit int64) error {
	var missing []string
	for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
		if _, there := u.sizes[dir]; there {
			break
		}
		missing = append(missing, dir)
	}
	old, there := u.sizes[f.Path]
	entries := u.entries + len(missing)
	if !there {
		entries++
	}
	bytes := u.bytes - max(old, 0) + f.Size
	if bytes > limit || entries > maxEntries {
		return fmt.Errorf("%q: the user's folder would hold %d bytes in %d files and directories; %d bytes in %d are allowed", f.Path, bytes, entries, limit, maxEntries)
	}
	for _, dir := range missing {
		u.sizes[dir] = -1
	}
	u.sizes[f.Path], u.bytes, u.entries = f.Size, bytes, entries
	return nil
}
