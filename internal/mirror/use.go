package mirror

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"cellhold/internal/guestapi"
)

// use has the number and the size of the files in a folder.
type use struct {
	bytes   int64
	entries int              // files and directories
	sizes   map[string]int64 // of files; -1 for directories
}

// measure counts the content of a folder. Files that other sessions copy at this moment are left out.
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

// admit adds a file that will be copied, with the directories that it needs. It fails if the folder would
// exceed its limits.
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
		return fmt.Errorf("%q: the user's folder would have %d bytes in %d files and directories; the limit is %d bytes in %d", f.Path, bytes, entries, limit, maxEntries)
	}
	for _, dir := range missing {
		u.sizes[dir] = -1
	}
	u.sizes[f.Path], u.bytes, u.entries = f.Size, bytes, entries
	return nil
}
