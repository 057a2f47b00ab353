package main

import (
	"cellhold"
	"cellhold/client"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"time"
)

// Bounds of what a script may leave on this machine, beside figures.
const (
	maxResults = 10_000  // files and folders; more are no results but a heap
	maxDepth   = 32      // folders in each other
	maxNamed   = 100     // files that are told one by one
	minRoom    = 1 << 30 // bytes in all: the disk of a session at its default
)

// caches are folders that nobody wants back. Python also runs what it finds there without looking at
// the source.
var caches = []string{"__pycache__", ".ipynb_checkpoints"}

// results brings the files back that a script wrote.
type results struct {
	client  *client.Client
	session cellhold.SessionID
	show    *show
	place   *destination
	bound   int64 // bytes that may come in all
	room    int64 // bytes that may still come; below 0 when more came

	before map[string]string // versions of files by their paths, from before the script
	aside  *destination      // for what cannot be at its place; nil until something is
	kept   int
	lost   int
	obeyed bool // aside are files that programs may run or obey
	taken  bool // a place was taken
}

// look remembers what is in the working directory before the script runs.
func (r *results) look(ctx context.Context) error {
	r.before = map[string]string{}
	files, _, err := r.list(ctx, "")
	for name, f := range files {
		r.before[name] = f.Version
	}
	return err
}

// list finds the files of a folder by their paths relative to it; an empty one is the working directory. more
// is set when there are too many.
func (r *results) list(ctx context.Context, folder string) (files map[string]cellhold.FileInfo, more bool, err error) {
	files = map[string]cellhold.FileInfo{}
	seen := 0
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		if seen == maxResults {
			more = true
			return nil
		}
		entries, cut, err := r.client.ListDirUpTo(ctx, r.session, path.Join(folder, dir), maxResults-seen)
		if err != nil {
			return err
		}
		seen += len(entries)
		more = more || cut
		for _, f := range entries {
			name := path.Join(dir, path.Base(f.Exact()))
			switch {
			case f.Type != cellhold.FileDirectory:
				files[name] = f
			case slices.Contains(caches, path.Base(name)):
			case depth == maxDepth:
				more = true
			default:
				// A folder that ends meanwhile, or that the code has closed, has no files.
				err := walk(name, depth+1)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if cellhold.KindOf(err) == cellhold.Unavailable {
					return err
				}
			}
		}
		return nil
	}
	return files, more, walk("", 1)
}

// bring brings back what is new or has changed, and then what is in /mnt/data/output.
func (r *results) bring(ctx context.Context) error {
	files, more, err := r.list(ctx, "")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		if f.Version != "" && r.before[name] == f.Version {
			continue
		}
		if err := r.one(ctx, "", name, f, r.place); err != nil {
			return err
		}
	}
	return errors.Join(r.told(more), r.outputs(ctx), r.count())
}

// one brings back one file of a folder, or says why not.
func (r *results) one(ctx context.Context, folder, name string, f cellhold.FileInfo, to *destination) error {
	why := oddName(name)
	switch {
	case why != "":
	case f.Type == cellhold.FileSymlink:
		why = "it is a symbolic link"
	case f.Type != cellhold.FileRegular:
		why = "it is a device, a pipe or a socket"
	case f.Size > r.room:
		why = r.full()
	}
	if why != "" {
		return r.not(name, why)
	}
	return r.fetch(ctx, path.Join(folder, name), name, to)
}

func (r *results) full() string {
	return fmt.Sprintf("the script's files have more than the %s that are kept", size(r.bound).rounded())
}

// fetch copies one file to its place, or aside when it cannot be there.
func (r *results) fetch(ctx context.Context, file, name string, to *destination) error {
	why, err := to.objection(name), errTaken
	if why == "" {
		err, why = r.copy(ctx, file, name, to), "its place is taken"
		r.taken = r.taken || errors.Is(err, errTaken)
	}
	because := ""
	if errors.Is(err, errTaken) && to == r.place {
		because = ", because " + why
		if to, err = r.asideOf(); err != nil {
			return err
		}
		err = r.copy(ctx, file, name, to)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errTaken):
		return r.not(name, "something else is there already")
	case errors.Is(err, errTooLong):
		return r.not(name, r.full())
	case err != nil:
		return r.not(name, plainly(err).Error())
	}
	r.obeyed = r.obeyed || to == r.aside && (hidden(name) || !data(name))
	return r.saved(path.Join(to.dir, name) + because)
}

// copy copies one file.
func (r *results) copy(ctx context.Context, file, name string, to *destination) error {
	from, err := r.client.ReadFile(ctx, r.session, file)
	if err != nil {
		return err
	}
	defer from.Close()
	counted := &bounded{from: from, left: r.room}
	err = to.keep(name, counted)
	r.room = counted.left // also what is not kept has come, whatever the file said of its size
	return err
}

// outputs is where code writes what is to be kept, in every session. A test has its own.
var outputs = "/mnt/data/output"

// outputs brings back what the script wrote to /mnt/data/output: aside, or to the folder that was named.
func (r *results) outputs(ctx context.Context) error {
	files, more, err := r.list(ctx, outputs)
	if err != nil && cellhold.KindOf(err) == cellhold.NotFound {
		return nil
	}
	if err != nil || len(files) == 0 {
		return err
	}
	to := r.place
	if !to.ours {
		if to, err = r.asideOf(); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := r.one(ctx, outputs, name, files[name], to); err != nil {
			return err
		}
	}
	return r.told(more)
}

// asideOf is the folder for what cannot be next to the script, made when it is needed.
func (r *results) asideOf() (*destination, error) {
	if r.aside == nil {
		dir, err := r.show.figures.folder()
		if err != nil {
			return nil, err
		}
		r.aside = &destination{dir: dir, name: r.place.name, ours: true}
	}
	return r.aside, nil
}

// told says that there are more files than are kept.
func (r *results) told(more bool) error {
	if !more {
		return nil
	}
	return r.show.note("not kept: further files; there are more than %d, or %d folders in each other", maxResults, maxDepth)
}

func (r *results) saved(at string) error {
	if r.kept++; r.kept > maxNamed {
		return nil
	}
	return r.show.note("file saved as %s", at)
}

func (r *results) not(name, why string) error {
	if r.lost++; r.lost > maxNamed {
		return nil
	}
	return r.show.note("not kept: %q: %s", name, why)
}

// count tells of the files that were not told one by one, and what to do about files that are aside.
func (r *results) count() error {
	var err error
	if r.kept > maxNamed {
		err = r.show.note("%d further files are saved", r.kept-maxNamed)
	}
	if r.lost > maxNamed {
		err = errors.Join(err, r.show.note("%d further files are not kept", r.lost-maxNamed))
	}
	if r.taken && r.place.named && !r.place.ours {
		err = errors.Join(err, r.show.note("nothing in %s is replaced, because it is not only for the files of scripts; "+
			"name a new or empty folder with --output", r.place.dir))
	}
	if r.obeyed {
		err = errors.Join(err, r.show.note("programs may run or obey files in %s: look at them before you run them", r.aside.dir))
	}
	return err
}

// Bounds of the time that files may take to come back, after the script has ended. Code that it left running can
// hold up each answer.
const (
	bringBase = 5 * time.Minute
	bringRate = 2 << 20 // bytes per second, for the bytes that may come in all
)

// bringBack saves the executed notebook, the figures of the script and its files, until their time is over.
func (s *script) bringBack(ctx context.Context, r *results) error {
	allowed := bringBase + time.Duration(r.bound/bringRate)*time.Second
	late := fmt.Errorf("some did not come back within %v, which is the limit", allowed)
	limited, stop := context.WithTimeoutCause(ctx, allowed, late)
	defer stop()
	err := errors.Join(s.executed(limited), s.figures(limited), r.bring(limited))
	if ctx.Err() == nil && limited.Err() != nil {
		return late
	}
	return err
}

// bounded is a reader that fails beyond a number of bytes.
type bounded struct {
	from io.Reader
	left int64
}

var errTooLong = errors.New("too long")

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}
