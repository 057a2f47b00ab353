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
	// longestPath is Linux's PATH_MAX. Longer paths cannot be opened.
	longestPath = 4096
)

// unpacker applies the layers of one image to a directory. Layers are not trusted: every file operation uses the os.Root, so
// no name, and no symbolic link of an earlier entry, leads out of the directory.
type unpacker struct {
	root   *os.Root
	budget budget
	made   map[string]bool // paths that the current layer created; its whiteouts do not remove them
}

func newUnpacker(dir string, l limits) (*unpacker, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &unpacker{root: root, budget: budget{limits: l}}, nil
}

func (u *unpacker) Close() error { return u.root.Close() }

// layer unpacks one uncompressed layer. The caller must have started it with budget.layer.
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

// create creates the entry. It replaces an entry of lower layers.
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
		// The target can be anything: it is followed inside the sandbox only.
		return u.root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return u.hardLink(name, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return nil // the sandbox has its own /dev; a device node would give access to the host
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

// parents creates the missing parent directories of an entry.
func (u *unpacker) parents(dir string) error {
	if dir == "." || u.made[dir] {
		return nil
	}
	if info, err := u.root.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	if err := u.parents(path.Dir(dir)); err != nil {
		return err
	}
	return u.replaceByDir(dir)
}

// replaceByDir creates an empty directory and removes whatever had this name. It removes links and does not follow them.
func (u *unpacker) replaceByDir(name string) error {
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	if err := u.root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return u.root.Chmod(name, 0o755) // the umask may have removed permissions
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
	if err := f.Chmod(safeMode(h, 0o644)); err != nil { // the umask may have removed permissions
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return u.root.Chtimes(name, h.ModTime, h.ModTime)
}

// copy writes the content. The holes of a sparse file take no space in the archive, so the written bytes are counted too.
func (u *unpacker) copy(f *os.File, h *tar.Header, content io.Reader) error {
	if !isSparse(h) {
		_, err := io.Copy(f, content)
		return err
	}
	u.budget.usedBytes += h.Size // the method file has checked h.Size against the limit
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

// hardLink creates a second name for a regular file or a symbolic link of this image. It refuses links to other
// kinds of files. It also refuses links to files outside the image: a later write through the link would change
// such a file.
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
		return fmt.Errorf("hard link to %q, which is not a regular file", h.Linkname)
	}
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	return u.root.Link(target, name)
}

// whiteout removes an entry of lower layers.
func (u *unpacker) whiteout(dir, base string) error {
	if base == opaqueWhiteout {
		return u.opaque(dir)
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	if strings.HasPrefix(hidden, whiteoutPrefix) {
		return nil // metadata of AUFS
	}
	if hidden == "" || hidden == "." || hidden == ".." {
		return errors.New("a whiteout without a name")
	}
	return u.hide(path.Join(dir, hidden))
}

// hide removes the entries of lower layers at a path, and keeps those of this layer.
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

// opaque removes all entries of lower layers from a directory.
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

// mountPoints creates every directory on which drivers mount something, with its parents. A runtime would otherwise create
// them in the shared root file system. It replaces links and files of the image at these paths, because a mount must have
// the intended target.
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

// cleanName converts the name of an entry to a path relative to the root. It refuses names with "..", which proper tools
// never write.
func cleanName(name string) (string, error) {
	if len(name) > longestPath {
		return "", errors.New("name is too long")
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", errors.New("name leads out of the image")
	}
	return path.Clean("./" + path.Clean("/"+name)), nil
}

// safeMode restricts a mode for a shared, read-only tree. All users can read, because the files belong to other users in the
// sandbox. Only the owner can write, because other users of the host could change the image of every session. Set-id bits
// are removed, because nothing needs them.
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
