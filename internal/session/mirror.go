package session

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
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
)

// mirror keeps the host's copy of a session's /mnt/data/output. Names and sizes come from the
// guest: package guest has checked the names, and everything here happens through an os.Root, so
// that no name and no link leads out of the directory.
type mirror struct {
	dir   string
	part  string // name that a file bears while it is copied; sessions of one user share dir
	limit int64  // bytes in all

	mu    sync.Mutex // held while copying, so that two cells do not copy at once
	known map[string]guestapi.File
}

func newMirror(dir, session string, limit int64) *mirror {
	return &mirror{dir: dir, part: temporary + session, limit: limit, known: map[string]guestapi.File{}}
}

// open makes the directory, private to the server's user, and opens it.
func (m *mirror) open() (*os.Root, error) {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenRoot(m.dir)
}

// push copies the host's files into a fresh sandbox.
func (m *mirror) push(ctx context.Context, c *guest.Client) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	root, err := m.open()
	if err != nil {
		return err
	}
	defer root.Close()
	files, err := listFiles(root)
	if err != nil {
		return err
	}
	left := m.limit
	for _, f := range files {
		if left -= f.Size; left < 0 {
			return cellhold.Errorf(cellhold.Exhausted,
				"The user's output files on the server need more than the %d bytes that a session may have there. Remove some, or raise the limit.", m.limit)
		}
		if err := pushOne(ctx, root, c, f); err != nil {
			return fmt.Errorf("%q: %w", f.Path, err)
		}
	}
	// As the guest has them now, so that only what it changes or removes is copied.
	there, err := c.Files(ctx)
	for _, f := range there {
		m.known[f.Path] = f
	}
	return err
}

// recognise finds out which of the guest's files an earlier server has copied already.
func (m *mirror) recognise(ctx context.Context, c *guest.Client) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	there, err := c.Files(ctx)
	if err != nil {
		return fmt.Errorf("listing the guest's output files: %w", err)
	}
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

// pull copies what has changed in the guest since the last time, and removes what the guest has
// removed.
func (m *mirror) pull(ctx context.Context, c *guest.Client) error {
	if c == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	list, err := c.Files(ctx)
	if err != nil {
		return fmt.Errorf("listing the guest's output files: %w", err)
	}
	root, err := m.open()
	if err != nil {
		return err
	}
	defer root.Close()
	var errs []error
	if len(list) < guestapi.MaxFiles { // a list that was cut says nothing of what is missing in it
		errs = append(errs, m.removeGone(root, list))
	}
	left := m.limit
	for _, f := range list {
		if left -= f.Size; left < 0 {
			errs = append(errs, fmt.Errorf("the guest lists more than %d bytes of output files", m.limit))
			break
		}
		if old, ok := m.known[f.Path]; ok && same(old, f) || strings.HasPrefix(f.Path, temporary) {
			continue
		}
		if err := m.pullOne(ctx, root, c, f); err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", f.Path, err))
			continue
		}
		m.known[f.Path] = f
	}
	return errors.Join(errs...)
}

// removeGone removes the files that this session has copied and the guest no longer has. Files of
// other sessions of the same user stay.
func (m *mirror) removeGone(root *os.Root, list []guestapi.File) error {
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
			// an empty directory is nobody's
		}
	}
	return errors.Join(errs...)
}

// temporary begins the names that files bear while they are copied. A guest's file of such a name is
// not copied.
const temporary = ".cellhold-part-"

// pullOne copies one file, whole or not at all. A file that grows meanwhile is copied as far as it
// was listed.
func (m *mirror) pullOne(ctx context.Context, root *os.Root, c *guest.Client, f guestapi.File) error {
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
	if info, e := root.Lstat(f.Path); err != nil && e == nil && info.IsDir() { // the guest has replaced it by a file
		if err = root.RemoveAll(f.Path); err == nil {
			err = root.Rename(m.part, f.Path)
		}
	}
	return err
}

// makeParents makes the directories of a file. A file in the way has become a directory in the
// guest, and goes.
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

// File is one output file of a session on the host.
type File struct {
	Path     string    `json:"path" doc:"Path below /mnt/data/output." example:"report/summary.csv"`
	Size     int64     `json:"size" doc:"Bytes."`
	Modified time.Time `json:"modified" doc:"When it was last written."`
}

// Files lists the session's output files as they were after the last cell.
func (s *Session) Files() ([]File, error) {
	root, err := s.mirror.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found, err := listFiles(root)
	if err != nil {
		return nil, err
	}
	files := make([]File, 0, len(found))
	for _, f := range found {
		files = append(files, File(f))
	}
	return files, nil
}

// OpenFile opens one output file by its listed path.
func (s *Session) OpenFile(name string) (*os.File, error) {
	missing := cellhold.Errorf(cellhold.NotFound, "The session has no output file of that name.")
	if !fs.ValidPath(name) || strings.HasPrefix(name, temporary) {
		return nil, missing
	}
	root, err := s.mirror.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return nil, missing
	}
	return root.Open(name)
}

// listFiles lists the regular files below a directory, in order of their names.
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
