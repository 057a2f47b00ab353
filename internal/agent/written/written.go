// Package written remembers which files below some directories were written, and when.
//
// The operating system reports the writes. So the answer for a cell that wrote no file costs one system call,
// however many files and directories there are. The package reads no file and decides nothing. Its memory is
// bounded, and it reports when it has forgotten a write.
//
// There is one lock, Log.mu, held while events are read.
package written

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/agent/files/notify"
	"cellhold/internal/guestapi"
)

const (
	// maxDirs bounds the watched directories below each directory. A checked-out project has some hundred,
	// and each takes two system calls when it appears.
	maxDirs = 1000
	// maxEntries bounds the entries that are found at once in new directories.
	maxEntries = 10_000
	// maxKept bounds the files that are remembered.
	maxKept = 2000
	// gather is the time that events can wait in the operating system before they are read. A shorter time wakes
	// the agent more often; a longer time takes more memory.
	gather = 500 * time.Millisecond
	// Ignore begins the names of files that are not complete yet.
	Ignore = ".cellhold-upload-"
)

// Log remembers which files were written.
type Log struct {
	log         *slog.Logger
	directories []*directory
	watchers    *notify.Set // nil only if New fails
	done        chan struct{}
	wait        sync.WaitGroup
	once        sync.Once

	mu    sync.Mutex
	seq   int64            // incremented by every read of events
	files map[string]int64 // absolute path to the seq of its last write
	lost  int64            // the newest seq of a forgotten write
}

// directory is one watched directory.
type directory struct {
	dir     string
	root    *os.Root
	watcher *notify.Watcher
}

// New starts to watch directories, which must exist. It does not watch the directories beyond its limits. The caller
// must close the Log.
func New(log *slog.Logger, dirs ...string) (*Log, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Log{log: log, done: make(chan struct{}), files: map[string]int64{}}
	for _, dir := range dirs {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		w, err := notify.New(notify.Options{Dir: dir, Deep: true, MaxDirs: maxDirs, MaxEntries: maxEntries, Ignore: Ignore, Foreign: true})
		if err != nil {
			return nil, errors.Join(err, root.Close(), l.Close())
		}
		p := &directory{dir, root, w}
		l.directories = append(l.directories, p)
		l.wait.Go(func() { l.follow(p) })
	}
	watchers := make([]*notify.Watcher, len(l.directories))
	for i, p := range l.directories {
		watchers[i] = p.watcher
	}
	set, err := notify.NewSet(watchers...)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.watchers = set
	return l, nil
}

// Close stops watching. It can be called twice.
func (l *Log) Close() error {
	var errs []error
	l.once.Do(func() {
		close(l.done)
		for _, p := range l.directories {
			errs = append(errs, p.watcher.Close())
		}
		l.wait.Wait()
		if l.watchers != nil {
			errs = append(errs, l.watchers.Close())
		}
		for _, p := range l.directories {
			errs = append(errs, p.root.Close())
		}
	})
	return errors.Join(errs...)
}

// follow reads events from time to time, so that they do not fill the queue of the operating system.
func (l *Log) follow(p *directory) {
	for p.watcher.Wait() == nil {
		timer := time.NewTimer(gather)
		select {
		case <-timer.C:
		case <-l.done:
			timer.Stop()
			return
		}
		l.mu.Lock()
		l.read(p)
		l.mu.Unlock()
	}
}

// Mark returns the current position for Since.
func (l *Log) Mark() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readAll()
	return l.seq
}

// Since returns the regular files that were written after a mark and still exist, sorted by path. It
// returns at most guestapi.MaxCellFiles; more reports that there were others.
func (l *Log) Since(mark int64) (list []cellhold.CellFile, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readAll()
	more = l.lost > mark
	var paths []string
	for p, seq := range l.files {
		if seq > mark {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	for _, p := range paths {
		f, ok := l.describe(p)
		if !ok {
			continue
		}
		if len(list) == guestapi.MaxCellFiles {
			return list, true
		}
		list = append(list, f)
	}
	return list, more
}

// describe returns the size and the time of a file as they are now. It finds the file below the open directory and
// follows no link. Otherwise user code could learn about files that only this process can read.
func (l *Log) describe(p string) (cellhold.CellFile, bool) {
	for _, directory := range l.directories {
		name, ok := strings.CutPrefix(p, directory.dir+"/")
		if !ok {
			continue
		}
		info, err := directory.root.Lstat(name)
		if err != nil || !info.Mode().IsRegular() {
			return cellhold.CellFile{}, false
		}
		f := cellhold.CellFile{Path: p, Size: info.Size(), Modified: info.ModTime().UTC()}
		if year := f.Modified.Year(); year < 1970 || year > 2200 {
			f.Modified = time.Unix(0, 0).UTC() // JSON cannot express times of every year
		}
		if !utf8.ValidString(p) {
			f.Path, f.Escaped = strings.ToValidUTF8(p, "\uFFFD"), cellhold.EscapePath(p)
		}
		return f, true
	}
	return cellhold.CellFile{}, false
}

// readAll reads the events of all directories. Most cells write no file. So readAll first asks, with one system call,
// whether any directory has events. The caller must hold mu.
func (l *Log) readAll() {
	if !l.watchers.Ready() {
		return
	}
	for _, p := range l.directories {
		l.read(p)
	}
}

// read reads the events of a directory. The caller must hold mu.
func (l *Log) read(p *directory) {
	changes, err := p.watcher.Read()
	if err != nil {
		l.log.Debug("watching files", "error", err)
		return
	}
	if len(changes) == 0 {
		return
	}
	l.seq++
	for _, c := range changes {
		path := filepath.Join(p.dir, c.Path)
		switch {
		case c.Op == notify.Overflow:
			l.lost = l.seq
		case c.Op == notify.Removed:
			delete(l.files, path)
		case !c.Dir && len(path) <= guestapi.MaxFilePath:
			l.files[path] = l.seq
		}
	}
	if len(l.files) > maxKept {
		l.forget()
	}
}

// forget drops the older half of the files, and records in lost that writes are missing.
func (l *Log) forget() {
	seqs := make([]int64, 0, len(l.files))
	for _, seq := range l.files {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	limit := len(l.files) / 2
	oldest := seqs[limit]
	for p, seq := range l.files {
		if limit > 0 && seq <= oldest {
			delete(l.files, p)
			l.lost = max(l.lost, seq)
			limit--
		}
	}
}
