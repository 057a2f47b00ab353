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

// sink takes the things of a tree, a directory before what is in it. Names are relative and clean.
type sink interface {
	directory(name string, info fs.FileInfo) error
	file(name string, info fs.FileInfo, r io.Reader) error
	link(name string, info fs.FileInfo, target string) error
}

// walk gives a tree to a sink. User code changes the tree meanwhile, so every name is resolved below
// the open root and no link is followed. What vanishes meanwhile is passed over, as are devices,
// pipes, sockets and our own unfinished files; what cannot be read is an error, because an archive
// that silently lacks a file is worse than none.
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
	dirs []string // still to read
	left int      // entries that may still come
}

func (w *walker) directory(ctx context.Context, dir string) error {
	d, err := w.root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return ifThere(err)
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(readChunk)
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.entry(path.Join(dir, name), name); ifThere(err) != nil {
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

// ifThere is the error unless it says that something has gone.
func ifThere(err error) error {
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
	if strings.HasPrefix(name, temporary) || typeOf(info.Mode()) == "other" {
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
	if info, err = checkOpen(f); err != nil {
		return nil // exchanged meanwhile for something that is not kept
	}
	return w.to.file(p, info, f)
}
