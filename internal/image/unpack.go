package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	whiteoutPrefix = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
	// longestPath is Linux's PATH_MAX; longer ones could not be opened anyway.
	longestPath = 4096
)

// unpacker lays the layers of one image over each other in a directory. Layers are foreign: every
// file operation goes through the os.Root, so that no name and no symbolic link made by an earlier
// entry leads out of it.
type unpacker struct {
	root   *os.Root
	budget budget
	made   map[string]bool // what the current layer has made, so that its whiteouts spare it
}

func newUnpacker(dir string, l limits) (*unpacker, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &unpacker{root: root, budget: budget{limits: l}}, nil
}

func (u *unpacker) Close() error { return u.root.Close() }

// layer unpacks one uncompressed layer. The caller has started it with budget.layer.
func (u *unpacker) layer(ctx context.Context, r io.Reader) error {
	u.made = map[string]bool{}
	archive := tar.NewReader(u.budget.reader(r))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := u.entry(h, archive); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if err := u.budget.entry(); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(h.Name)
	if err != nil || name == "." {
		return err
	}
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(dir, base)
	}
	if err := u.parents(dir); err != nil {
		return err
	}
	if err := u.create(name, h, content); err != nil {
		return err
	}
	for ; name != "."; name = path.Dir(name) {
		u.made[name] = true
	}
	return nil
}

// create makes the entry in place of whatever lower layers had there.
func (u *unpacker) create(name string, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(name, h)
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(name, h, content)
	case tar.TypeSymlink:
		if len(h.Linkname) > longestPath {
			return errors.New("link is too long")
		}
		if err := u.root.RemoveAll(name); err != nil {
			return err
		}
		// The target may be anything: it is followed inside the sandbox only.
		return u.root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return u.hardLink(name, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return nil // the sandbox has its own /dev; a device on the host would be a way to the host
	}
	return fmt.Errorf("unknown kind of entry %q", h.Typeflag)
}

func (u *unpacker) directory(name string, h *tar.Header) error {
	info, err := u.root.Lstat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || !info.IsDir() {
		if err := u.replaceByDir(name); err != nil {
			return err
		}
	}
	return u.root.Chmod(name, safeMode(h, 0o755))
}

// parents makes the directories that an entry needs but no entry has described.
func (u *unpacker) parents(dir string) error {
	if dir == "." || u.made[dir] {
		return nil
	}
	if info, err := u.root.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is no directory", dir)
		}
		return nil
	}
	if err := u.parents(path.Dir(dir)); err != nil {
		return err
	}
	return u.replaceByDir(dir)
}

// replaceByDir puts an empty directory in the place of a name, whatever stood there. A link is
// removed, not followed.
func (u *unpacker) replaceByDir(name string) error {
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	if err := u.root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return u.root.Chmod(name, 0o755) // after the umask, which may have lessened it
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	if u.budget.usedBytes+h.Size > u.budget.bytes {
		return fmt.Errorf("%w: a file of %d bytes", errTooLarge, h.Size)
	}
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := u.copy(f, h, content); err != nil {
		return err
	}
	if err := f.Chmod(safeMode(h, 0o644)); err != nil { // after the umask, which would lessen it
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return u.root.Chtimes(name, h.ModTime, h.ModTime)
}

// copy writes the content. Holes of a sparse file cost the archive nothing, so what is written is
// counted and not only what is read.
func (u *unpacker) copy(f *os.File, h *tar.Header, content io.Reader) error {
	if !isSparse(h) {
		_, err := io.Copy(f, content)
		return err
	}
	u.budget.usedBytes += h.Size // checked against the bound by file
	_, err := io.Copy(f, content)
	return err
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// hardLink makes a second name for a regular file of this image. A link to anything else, or to a
// file outside, is refused: writing through it later would change what it names.
func (u *unpacker) hardLink(name string, h *tar.Header) error {
	target, err := cleanName(h.Linkname)
	if err != nil {
		return err
	}
	info, err := u.root.Lstat(target)
	if err != nil {
		return err
	}
	if target == name {
		return nil
	}
	if !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink {
		return fmt.Errorf("hard link to %q, which is no file", h.Linkname)
	}
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	return u.root.Link(target, name)
}

// whiteout removes what lower layers put at a place.
func (u *unpacker) whiteout(dir, base string) error {
	if base == opaqueWhiteout {
		return u.opaque(dir)
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	if strings.HasPrefix(hidden, whiteoutPrefix) {
		return nil // AUFS's own bookkeeping
	}
	if hidden == "" || hidden == "." || hidden == ".." {
		return errors.New("a whiteout of nothing")
	}
	return u.hide(path.Join(dir, hidden))
}

// hide removes what lower layers have at a place, and spares what this layer has made there.
func (u *unpacker) hide(name string) error {
	if !u.made[name] {
		return ignoreMissing(u.root.RemoveAll(name))
	}
	info, err := u.root.Lstat(name)
	if err != nil || !info.IsDir() {
		return ignoreMissing(err)
	}
	return u.opaque(name)
}

// opaque removes all that lower layers put into a directory.
func (u *unpacker) opaque(dir string) error {
	names, err := u.children(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, child := range names {
		if err := u.hide(path.Join(dir, child)); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) children(dir string) ([]string, error) {
	f, err := u.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// mountPoints makes every directory that drivers mount something on, with all its parents: a
// runtime would make them itself, in the shared root file system. Where the image has a link or a
// file in the way it is replaced, because a mount must land where it was meant to.
func (u *unpacker) mountPoints() error {
	for _, point := range []string{"opt/cellhold/bin", "mnt/data", "workspace", "home/user",
		"tmp", "run", "dev/shm", "proc", "sys"} {
		for i, c := range point + "/" {
			if c != '/' {
				continue
			}
			if err := u.mountPoint(point[:i]); err != nil {
				return fmt.Errorf("make mount point /%s: %w", point, err)
			}
		}
	}
	return nil
}

func (u *unpacker) mountPoint(dir string) error {
	info, err := u.root.Lstat(dir)
	if err == nil && info.IsDir() {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return u.replaceByDir(dir)
}

// cleanName turns an entry's name into a path relative to the root. Names with ".." are refused
// and not repaired: no honest tool writes them.
func cleanName(name string) (string, error) {
	if len(name) > longestPath {
		return "", errors.New("name is too long")
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", errors.New("name leads out of the image")
	}
	return path.Clean("./" + path.Clean("/"+name)), nil
}

// safeMode keeps of the mode what a shared, read-only tree may have. Everyone may read, because in
// the sandbox all files belong to someone else. Nobody else may write, because other users of the
// host could change the image under every session. No set-id bits, because nothing needs them.
func safeMode(h *tar.Header, least fs.FileMode) fs.FileMode {
	mode := fs.FileMode(h.Mode)&0o755 | least
	if mode&0o100 != 0 {
		mode |= 0o111
	}
	return mode
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
