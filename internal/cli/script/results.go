package script

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"time"
)

// Limits of the files that a script can save on this machine, in addition to figures.
const (
	maxResults = 10_000  // files and folders
	maxDepth   = 32      // nested folders
	maxNamed   = 100     // files that are reported one by one
	MinBytes   = 1 << 30 // bytes in total; the default --disk of a session
)

// caches are folders that are never copied back. Python can run a cached file without comparing it with its source.
var caches = []string{"__pycache__", ".ipynb_checkpoints"}

// results copies the files back that a script wrote.
type results struct {
	client  *client.Client
	session cellhold.SessionID
	printer *Printer
	dest    *destination
	limit   int64 // bytes that can be copied in total
	left    int64 // bytes that are left; below 0 after more bytes came

	before   map[string]string // versions of the files before the script ran, by path
	overflow *destination      // for files that cannot be at their place; nil until there is one
	kept     int
	lost     int
	risky    bool // overflow contains files that programs may run or obey
	exists   bool // a file existed at a place already
}

// recordBefore records the files in the working directory before the script runs.
func (r *results) recordBefore(ctx context.Context) error {
	r.before = map[string]string{}
	files, _, err := r.list(ctx, "")
	for name, f := range files {
		r.before[name] = f.Version
	}
	return err
}

// list returns the files of a folder by their relative paths. An empty folder name means the working directory. more
// reports that there are more files than the limit.
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
				// A folder that was removed in the meantime, or that the code made unreadable, has no files.
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

// bring copies new and changed files back, and then the files of /mnt/data/output.
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
		if err := r.one(ctx, "", name, f, r.dest); err != nil {
			return err
		}
	}
	return errors.Join(r.reportMore(more), r.outputs(ctx), r.count())
}

// one copies one file of a folder back, or reports why not.
func (r *results) one(ctx context.Context, folder, name string, f cellhold.FileInfo, to *destination) error {
	why := oddName(name)
	switch {
	case why != "":
	case f.Type == cellhold.FileSymlink:
		why = "it is a symbolic link"
	case f.Type != cellhold.FileRegular:
		why = "it is not a regular file"
	case f.Size > r.left:
		why = r.full()
	}
	if why != "" {
		return r.refuse(name, why)
	}
	return r.fetch(ctx, path.Join(folder, name), name, to)
}

func (r *results) full() string {
	return fmt.Sprintf("the script's files exceed the limit of %s", console.Size(r.limit).Rounded())
}

// fetch copies one file to its place, or to the overflow folder if it cannot be at its place.
func (r *results) fetch(ctx context.Context, file, name string, to *destination) error {
	why, err := to.objection(name), errTaken
	if why == "" {
		err, why = r.copy(ctx, file, name, to), "this file exists already"
		r.exists = r.exists || errors.Is(err, errTaken)
	}
	because := ""
	if errors.Is(err, errTaken) && to == r.dest {
		because = ", because " + why
		if to, err = r.overflowDir(); err != nil {
			return err
		}
		err = r.copy(ctx, file, name, to)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errTaken):
		return r.refuse(name, "a file of this name exists already")
	case errors.Is(err, errTooLong):
		return r.refuse(name, r.full())
	case err != nil:
		return r.refuse(name, console.Message(err).Error())
	}
	r.risky = r.risky || to == r.overflow && (hidden(name) || !data(name))
	return r.saved(path.Join(to.dir, name) + because)
}

// copy copies one file.
func (r *results) copy(ctx context.Context, file, name string, to *destination) error {
	from, err := r.client.ReadFile(ctx, r.session, file)
	if err != nil {
		return err
	}
	defer from.Close()
	counted := &bounded{from: from, left: r.left}
	err = to.keep(name, counted)
	r.left = counted.left // bytes count even if the file is not kept, whatever size it reported
	return err
}

// OutputDir is the folder of files to keep, in every session. A test sets its own.
var OutputDir = "/mnt/data/output"

// outputs copies the files of /mnt/data/output back: to the overflow folder, or to the folder of --output.
func (r *results) outputs(ctx context.Context) error {
	files, more, err := r.list(ctx, OutputDir)
	if err != nil && cellhold.KindOf(err) == cellhold.NotFound {
		return nil
	}
	if err != nil || len(files) == 0 {
		return err
	}
	to := r.dest
	if !to.ours {
		if to, err = r.overflowDir(); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := r.one(ctx, OutputDir, name, files[name], to); err != nil {
			return err
		}
	}
	return r.reportMore(more)
}

// overflowDir returns the folder for files that cannot be next to the script. It creates the folder on first use.
func (r *results) overflowDir() (*destination, error) {
	if r.overflow == nil {
		dir, err := r.printer.figures.folder()
		if err != nil {
			return nil, err
		}
		r.overflow = &destination{dir: dir, name: r.dest.name, ours: true}
	}
	return r.overflow, nil
}

// reportMore reports that there are more files than the limit.
func (r *results) reportMore(more bool) error {
	if !more {
		return nil
	}
	return r.printer.note("not kept: further files; the limit is %d files, and %d nested folders", maxResults, maxDepth)
}

func (r *results) saved(at string) error {
	if r.kept++; r.kept > maxNamed {
		return nil
	}
	return r.printer.note("file saved as %s", at)
}

func (r *results) refuse(name, why string) error {
	if r.lost++; r.lost > maxNamed {
		return nil
	}
	return r.printer.note("not kept: %q: %s", name, why)
}

// count reports the files that were not reported one by one, and warns about files in the overflow folder.
func (r *results) count() error {
	var err error
	if r.kept > maxNamed {
		err = r.printer.note("%d further files are saved", r.kept-maxNamed)
	}
	if r.lost > maxNamed {
		err = errors.Join(err, r.printer.note("%d further files are not kept", r.lost-maxNamed))
	}
	if r.exists && r.dest.named && !r.dest.ours {
		err = errors.Join(err, r.printer.note("nothing in %s is replaced, because this folder contains other files; "+
			"give a new or empty folder with --output", r.dest.dir))
	}
	if r.risky {
		err = errors.Join(err, r.printer.note("programs may run or obey files in %s: check them before you use them", r.overflow.dir))
	}
	return err
}

// Limits of the time for copying files back after the script has ended. Code that it left running can delay each
// answer.
const (
	bringBase = 5 * time.Minute
	bringRate = 2 << 20 // bytes per second, for the limit of bytes
)

// bringBack saves the executed notebook, the figures and the files of the script, within a time limit.
func (s *Script) bringBack(ctx context.Context, r *results) error {
	allowed := bringBase + time.Duration(r.limit/bringRate)*time.Second
	late := fmt.Errorf("copying exceeded the limit of %v", allowed)
	limited, stop := context.WithTimeoutCause(ctx, allowed, late)
	defer stop()
	err := errors.Join(s.executed(limited), s.figures(limited), r.bring(limited))
	if ctx.Err() == nil && limited.Err() != nil {
		return late
	}
	return err
}

// bounded is a reader that fails after a number of bytes.
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
