package files

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"cellhold"
	"cellhold/internal/guestapi"
)

// sink receives the entries of a tree, a directory before its entries. Names are relative and clean.
type sink interface {
	directory(name string, info fs.FileInfo) error
	file(name string, info fs.FileInfo, r io.Reader) error
	link(name string, info fs.FileInfo, target string) error
}

// walk passes the entries of a tree to a sink. User code can change the tree during the walk, so every name is resolved
// below the open root, and no link is followed. It skips entries that disappear, devices, pipes, sockets
// and unfinished uploads. An entry that cannot be read is an error, because an archive must not
// lack a file silently.
func walk(ctx context.Context, root *os.Root, to sink) error {
	w := &walker{root: root, to: to, left: guestapi.MaxArchiveEntries, dirs: []string{"."}}
	for len(w.dirs) > 0 {
		dir := w.dirs[len(w.dirs)-1]
		w.dirs = w.dirs[:len(w.dirs)-1]
		if err := w.directory(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

type walker struct {
	root *os.Root
	to   sink
	dirs []string // not read yet
	left int      // entries that are still allowed
}

func (w *walker) directory(ctx context.Context, dir string) error {
	d, err := w.root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return unlessGone(err)
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(readChunk)
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.entry(path.Join(dir, name), name); unlessGone(err) != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// unlessGone returns the error, or nil if it says that the entry no longer exists.
func unlessGone(err error) error {
	if err == nil || os.IsNotExist(err) || isErrno(err, syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP) {
		return nil
	}
	return err
}

func (w *walker) entry(p, name string) error {
	info, err := w.root.Lstat(p)
	if err != nil {
		return err
	}
	if strings.HasPrefix(name, tempPrefix) || typeOf(info.Mode()) == "other" {
		return nil
	}
	if w.left--; w.left < 0 {
		return cellhold.Errorf(cellhold.Exhausted, "The directory has more than %d entries.", guestapi.MaxArchiveEntries)
	}
	switch typeOf(info.Mode()) {
	case "directory":
		if strings.Count(p, "/") >= guestapi.MaxFileDepth {
			return cellhold.Errorf(cellhold.Exhausted, "The tree is deeper than %d directories.", guestapi.MaxFileDepth)
		}
		w.dirs = append(w.dirs, p)
		return w.to.directory(p, info)
	case "symlink":
		target, err := w.root.Readlink(p)
		if err != nil {
			return err
		}
		return w.to.link(p, info, target)
	}
	f, err := w.root.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err = checkStored(f); err != nil {
		return nil // user code exchanged it for an entry that is skipped
	}
	return w.to.file(p, info, f)
}
