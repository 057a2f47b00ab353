package install

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// The owner of a directory can replace its entries. So the installer becomes the owner of directories only,
// and no files are copied to the session's layer. All changes happen below open directories, because the code
// of a package can make links, and the names in its record can point outside.

// maxEntries bounds the directories and files that one walk visits. The stock image has 30,000, large
// collections ten times as many.
const maxEntries = 1_000_000

// roots returns the directories below which the installer can own directories. Below /usr and / it owns
// only the directories of packages, because the others belong to the system.
func (p *layout) roots() []string {
	if p.Data == "/" || p.Data == "/usr" {
		return append(slices.Clone(p.Libs), p.Scripts)
	}
	list := []string{p.Data}
	for _, dir := range append(slices.Clone(p.Libs), p.Scripts) {
		if !within(dir, p.Data) {
			list = append(list, dir)
		}
	}
	return list
}

func within(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }

// own makes the installer the owner of all directories of packages.
func (r *Installer) own(p *layout) error {
	for _, dir := range p.roots() {
		err := below(dir, func(root *os.Root) error {
			left := maxEntries
			return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
				if left--; left < 0 {
					return fmt.Errorf("%s has more than %d entries", dir, maxEntries)
				}
				if err != nil || !d.IsDir() {
					return nil // a directory that disappeared needs no owner
				}
				return r.give(root, name)
			})
		})
		if err != nil {
			return diskError(err)
		}
	}
	return nil
}

// ownSome makes the installer the owner of the directories in which every package puts files, and of the
// directories of the packages that will be removed.
func (r *Installer) ownSome(p *layout, leaving []string) error {
	dirs := map[string]bool{p.Scripts: true}
	for _, dir := range slices.Concat(p.Libs, []string{p.Scripts}) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return diskError(err)
		}
		dirs[dir] = true
	}
	for _, dir := range []string{"", "share", "etc", "include"} {
		dirs[filepath.Join(p.Data, dir)] = true
	}
	for _, lib := range p.Libs {
		p.addDirs(dirs, lib, leaving)
	}
	for _, at := range p.roots() {
		err := below(at, func(root *os.Root) error {
			for _, dir := range slices.Sorted(maps.Keys(dirs)) {
				if !within(dir, at) {
					continue
				}
				name, err := filepath.Rel(at, dir)
				if err == nil {
					err = r.give(root, name)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return diskError(err)
		}
	}
	return nil
}

// addDirs adds the directories of packages in a library, as the records of the packages list them.
func (p *layout) addDirs(dirs map[string]bool, lib string, names []string) {
	entries, err := os.ReadDir(lib)
	if err != nil {
		return
	}
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), "-")
		if !strings.HasSuffix(e.Name(), ".dist-info") || !slices.Contains(names, normal(name)) {
			continue
		}
		for line := range strings.Lines(string(readBounded(filepath.Join(lib, e.Name(), "RECORD"), maxRecord))) {
			file, _, _ := strings.Cut(strings.Trim(strings.TrimSpace(line), `"`), ",")
			// uv removes empty directories, so it must own their parents too.
			for dir := filepath.Dir(filepath.Join(lib, file)); len(dir) > 1 && !dirs[dir]; dir = filepath.Dir(dir) {
				dirs[dir] = true
			}
			dirs[filepath.Join(filepath.Dir(filepath.Join(lib, file)), "__pycache__")] = true
		}
	}
}

// below opens a directory and calls work with it. It does nothing if the directory does not exist.
func below(dir string, work func(*os.Root) error) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return work(root)
}

// give makes the installer the owner of one directory. It does nothing if there is no directory.
func (r *Installer) give(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil || !info.IsDir() {
		return nil
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == r.o.UID {
		return nil
	}
	return root.Lchown(name, r.o.UID, r.o.GID)
}
