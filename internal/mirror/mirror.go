// Package mirror keeps the host's copy of the files that sessions write to /mnt/data/output. All sessions of a user
// share one folder. A session without a user has a folder of its own.
//
// Names and sizes come from the guest. Package guest has checked the names. Every access here uses an os.Root, so
// that no name and no link leads out of the folder. The limits of a folder apply to all sessions of the user
// together: a limit of bytes, and a limit of files and directories.
//
// It does not know which user a folder belongs to.
//
// Locks: the lock of a folder, then Folders.mu. Folders.mu is held for map operations only.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/exclusive"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
)

// maxEntries bounds the files and directories of one folder. A guest lists at most MaxFiles files, but each
// can be in several directories of its own.
const maxEntries = 4 * guestapi.MaxFiles

// Folders are the folders of all users of a server. The zero value is ready for use.
type Folders struct {
	// locks lets one session at a time write to a folder. Otherwise two sessions that copy files at the same time could
	// exceed the limits of the folder.
	locks exclusive.Keys // by folder
}

// Mirror copies the output files of one session to its folder on the host, and back.
type Mirror struct {
	folders *Folders
	dir     string
	part    string // name of a file while it is copied
	limit   int64  // bytes in the whole folder

	known map[string]guestapi.File // as the guest had them when they were copied; the folder's lock guards it
}

// New returns the mirror of a session to a folder that can hold limit bytes.
func New(f *Folders, dir, session string, limit int64) *Mirror {
	return &Mirror{folders: f, dir: dir, part: temporary + session, limit: limit, known: map[string]guestapi.File{}}
}

// open makes the directory, private to the server's user, and opens it.
func (m *Mirror) open() (*os.Root, error) {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenRoot(m.dir)
}

// hold locks the folder and opens it.
func (m *Mirror) hold(ctx context.Context) (root *os.Root, release func(), err error) {
	leave, err := m.folders.locks.Hold(ctx, m.dir)
	if err != nil {
		return nil, nil, err
	}
	if root, err = m.open(); err != nil {
		leave()
		return nil, nil, err
	}
	return root, func() { root.Close(); leave() }, nil
}

// Push copies the host's files into a fresh sandbox.
func (m *Mirror) Push(ctx context.Context, c *guest.Client) error {
	root, release, err := m.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	files, err := listFiles(root)
	if err != nil {
		return err
	}
	have, err := measure(root)
	if err != nil {
		return err
	}
	if have.bytes > m.limit || have.entries > maxEntries {
		return cellhold.Errorf(cellhold.Exhausted,
			"The user's output files on the server exceed the limit of %d bytes or %d files and directories. Remove some of them, or raise the limit.", m.limit, maxEntries)
	}
	for _, f := range files {
		if err := pushOne(ctx, root, c, f); err != nil {
			return fmt.Errorf("copy %q to the guest: %w", f.Path, err)
		}
	}
	if len(files) == 0 {
		return nil // a request to the guest would take as long as all other steps of a fast start
	}
	// Remember the guest's own times, so that only files that it changes or removes are copied.
	there, err := c.Files(ctx)
	for _, f := range there {
		m.known[f.Path] = f
	}
	return err
}

// Recognise finds out which of the guest's files an earlier server has copied already. If another session
// of the user holds the folder until the context ends, Recognise finds none, and returns no error. Then all files
// are copied again, which is better than the loss of a sandbox.
func (m *Mirror) Recognise(ctx context.Context, c *guest.Client) error {
	there, err := c.Files(ctx)
	if err != nil {
		return fmt.Errorf("list the guest's output files: %w", err)
	}
	release, err := m.folders.locks.Hold(ctx, m.dir)
	if err != nil {
		return nil
	}
	defer release()
	root, err := m.open()
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range there {
		if info, err := root.Lstat(f.Path); err == nil && same(f, guestapi.File{Size: info.Size(), Modified: info.ModTime()}) {
			m.known[f.Path] = f
		}
	}
	return nil
}

// same reports whether two versions of a file have the same size and time.
func same(a, b guestapi.File) bool { return a.Size == b.Size && a.Modified.Equal(b.Modified) }

func pushOne(ctx context.Context, root *os.Root, c *guest.Client, f guestapi.File) error {
	r, err := root.Open(f.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	return c.WriteFile(ctx, f.Path, io.LimitReader(r, f.Size), f.Size)
}

// Pull copies the files that changed in the guest since the last time, and removes the files that the guest
// removed.
func (m *Mirror) Pull(ctx context.Context, c *guest.Client) error {
	if c == nil {
		return nil
	}
	release, err := m.folders.locks.Hold(ctx, m.dir)
	if err != nil {
		return err
	}
	defer release()
	list, err := c.Files(ctx)
	if err != nil {
		return fmt.Errorf("list the guest's output files: %w", err)
	}
	root, err := m.open()
	if err != nil {
		return err
	}
	defer root.Close()
	var errs []error
	if len(list) < guestapi.MaxFiles { // a list that was cut does not show which files are missing
		errs = append(errs, m.removeGone(root, list))
	}
	have, err := measure(root)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, f := range list {
		if old, ok := m.known[f.Path]; ok && same(old, f) || strings.HasPrefix(f.Path, temporary) {
			continue
		}
		if err := have.admit(f, m.limit); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := m.pullOne(ctx, root, c, f); err != nil {
			errs = append(errs, fmt.Errorf("copy %q from the guest: %w", f.Path, err))
			continue
		}
		m.known[f.Path] = f
	}
	return errors.Join(errs...)
}

// Restore is Pull for a guest that was rolled back. It also removes files that the guest no longer has. own says
// that no other session uses the folder. Then Restore removes all such files. In a shared folder, it removes only
// files that this session has copied.
func (m *Mirror) Restore(ctx context.Context, c *guest.Client, own bool) error {
	if own {
		if err := m.knowAll(ctx); err != nil {
			return err
		}
	}
	return m.Pull(ctx, c)
}

// knowAll marks every file in the folder as copied by this session.
func (m *Mirror) knowAll(ctx context.Context) error {
	root, release, err := m.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	files, err := listFiles(root)
	for _, f := range files {
		if _, known := m.known[f.Path]; !known {
			m.known[f.Path] = f
		}
	}
	return err
}

// removeGone removes the files that this session has copied and the guest no longer has. Files of other
// sessions of the same user stay.
func (m *Mirror) removeGone(root *os.Root, list []guestapi.File) error {
	there := map[string]bool{}
	for _, f := range list {
		there[f.Path] = true
	}
	var errs []error
	for p := range m.known {
		if there[p] {
			continue
		}
		delete(m.known, p)
		if err := root.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		for dir := path.Dir(p); dir != "." && root.Remove(dir) == nil; dir = path.Dir(dir) {
			// remove parents that are now empty: no session owns an empty directory
		}
	}
	return errors.Join(errs...)
}

// temporary begins the names of files while they are copied. A guest's file with such a name is not copied.
const temporary = ".cellhold-part-"

// pullOne copies one file, whole or not at all. A file that grows during the copy is copied up to its
// listed size.
func (m *Mirror) pullOne(ctx context.Context, root *os.Root, c *guest.Client, f guestapi.File) error {
	r, err := c.ReadFile(ctx, f.Path, f.Size)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := makeParents(root, f.Path); err != nil {
		return err
	}
	w, err := root.OpenFile(m.part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.LimitReader(r, f.Size))
	if err = errors.Join(err, w.Close()); err != nil {
		return errors.Join(err, root.Remove(m.part))
	}
	if err := root.Chtimes(m.part, time.Time{}, f.Modified); err != nil {
		return err
	}
	err = root.Rename(m.part, f.Path)
	if info, e := root.Lstat(f.Path); err != nil && e == nil && info.IsDir() { // the guest has replaced the directory by a file
		if err = root.RemoveAll(f.Path); err == nil {
			err = root.Rename(m.part, f.Path)
		}
	}
	return err
}

// makeParents makes the directories of a file. A file in the way is removed: in the guest it is a directory
// now.
func makeParents(root *os.Root, name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	parts := strings.Split(dir, "/")
	for i := range parts {
		p := path.Join(parts[:i+1]...)
		if info, err := root.Lstat(p); err == nil && !info.IsDir() {
			if err := root.Remove(p); err != nil {
				return err
			}
		}
	}
	return root.MkdirAll(dir, 0o700)
}

// Files lists the files of the folder as they were after the last cell.
func (m *Mirror) Files() ([]guestapi.File, error) {
	root, err := m.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return listFiles(root)
}

// Open opens one file by its listed path. If there is no such file, it returns a NotFound error.
func (m *Mirror) Open(name string) (*os.File, error) {
	missing := cellhold.Errorf(cellhold.NotFound, "Output file %.200q not found in this session.", name)
	if !fs.ValidPath(name) || strings.HasPrefix(name, temporary) {
		return nil, missing
	}
	root, err := m.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return nil, missing
	}
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) { // removed since
		err = missing
	}
	return f, err
}

// listFiles lists the regular files below a directory, sorted by name.
func listFiles(root *os.Root) ([]guestapi.File, error) {
	var files []guestapi.File
	err := fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(p, temporary) {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files = append(files, guestapi.File{Path: p, Size: info.Size(), Modified: info.ModTime().UTC()})
		return nil
	})
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	return files, err
}
