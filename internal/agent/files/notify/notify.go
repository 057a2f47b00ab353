// Package notify reports changes in a directory and in the directories below it, with inotify.
//
// It reads a directory at most once, when it begins to watch it. Later changes come from inotify. It follows
// no links. It opens every directory below the root and watches the open file. So a move of a directory
// cannot lead the watch out of the root. If there are more changes than its limits, it reports an overflow.
// Then the caller must read the directory itself, and can call Rescan. It also reports an overflow for every directory that it cannot watch,
// and Missed returns the reason.
//
// A Watcher has no lock. One goroutine at a time can use it, except for Close.
package notify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"cellhold/internal/rawio"
)

// Op is the kind of a change.
type Op uint8

// The kinds of changes.
const (
	Created Op = iota + 1
	Modified
	Removed
	Overflow // changes were missed
)

// Change is one change. The path is relative to the root; an overflow has none.
type Change struct {
	Op   Op
	Path string
	Dir  bool
}

const (
	// mask has the inotify events that a watch asks for.
	mask = syscall.IN_CREATE | syscall.IN_MODIFY | syscall.IN_CLOSE_WRITE | syscall.IN_DELETE |
		syscall.IN_MOVED_FROM | syscall.IN_MOVED_TO | syscall.IN_ONLYDIR
	// readSize is the size of the buffer for events. It holds some hundred events.
	readSize = 8 << 10
	// readTime is how long one Read handles events. User code can make events faster than Read handles them,
	// and the caller has other work. After this time Read drops the events that it reads.
	readTime = 50 * time.Millisecond
	// maxDropped bounds the buffers of events that one Read drops.
	maxDropped = 4096
	// maxPending bounds the changes that one Read returns.
	maxPending = 20_000
	// MaxDepth is the depth to which directories are watched. To open a directory, all directories above it
	// are opened too. At a depth of 1000 this takes seconds, and 1000 open files.
	MaxDepth = 100
)

// Options configures a Watcher.
type Options struct {
	Dir        string // the root; required
	Deep       bool   // also watch the directories below the root
	MaxDirs    int    // limit of watched directories; required
	MaxEntries int    // limit of the entries that New, and each Read, find in the directories that they begin to watch; required
	Ignore     string // prefix of the names to ignore; empty ignores none
	Foreign    bool   // also ignore the rename of an ignored file to another name, as at the end of an upload
}

// The limits because of which a directory is not watched.
var (
	ErrDirs    = errors.New("too many directories")
	ErrEntries = errors.New("too many entries")
	ErrDepth   = errors.New("the directory is too deep")
)

// Watcher watches one directory.
type Watcher struct {
	o      Options
	root   *os.Root
	events *os.File // the inotify instance
	raw    syscall.RawConn
	row    rawio.Row
	dirs   map[int32]string // paths of the watched directories, by watch descriptor
	buffer []byte

	found   []Change        // changes for the next Read
	budget  int             // entries of new directories that Read can still handle
	cookies map[uint32]bool // inotify cookies of renames whose old name is ignored
	missed  error           // the first reason why a directory is not watched
}

// New returns a Watcher that watches from now on. The caller must close it, and can ask Missed whether it watches all
// directories.
func New(o Options) (*Watcher, error) {
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, err
	}
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &Watcher{o: o, root: root, events: os.NewFile(uintptr(fd), "inotify"), dirs: map[int32]string{},
		buffer: make([]byte, readSize), budget: o.MaxEntries, cookies: map[uint32]bool{}}
	if w.raw, err = w.events.SyscallConn(); err == nil {
		err = w.add(".")
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	w.found = nil // existing entries are not changes
	return w, nil
}

// Rescan finds the directories whose creation was missed, and watches them too. After an overflow, the Watcher does not
// report the changes in them otherwise.
func (w *Watcher) Rescan() error {
	old := w.dirs
	w.dirs, w.budget = make(map[int32]string, len(old)), w.o.MaxEntries
	err := w.add(".") // an open directory that is watched already keeps its descriptor
	for wd := range old {
		if _, still := w.dirs[wd]; !still {
			w.unwatch(wd)
		}
	}
	w.found = nil // the caller knows of the overflow, and reads the directory itself
	return err
}

// Missed returns the first reason why a directory is not watched: one of the limits, or an error of the operating system
// that has no more resources. It is nil while all directories are watched. A directory that the process cannot read is
// not counted.
func (w *Watcher) Missed() error { return w.missed }

// Close ends the watch, and a Wait in progress. It can be called from any goroutine.
func (w *Watcher) Close() error { return errors.Join(w.events.Close(), w.root.Close()) }

// Wait returns when there are events to read. The error says that the Watcher is closed.
func (w *Watcher) Wait() error {
	return w.raw.Read(func(fd uintptr) bool {
		var n int32 // FIONREAD reports the size of the events without reading them
		_, _, e := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
		return e == 0 && n > 0
	})
}

// Read returns the changes since the last Read, and does not wait.
func (w *Watcher) Read() ([]Change, error) {
	w.budget = w.o.MaxEntries
	clear(w.cookies)
	begun, dropped := time.Now(), 0
	for {
		n, err := w.take()
		if err != nil {
			return nil, err
		}
		if n == 0 || dropped > maxDropped {
			break
		}
		if time.Since(begun) < readTime {
			w.parse(w.buffer[:n])
			continue
		}
		if dropped++; dropped == 1 {
			w.report(Overflow, "", false)
		}
	}
	changes := w.found
	w.found = nil
	return changes, nil
}

// take reads events into the buffer, as many as fit. It returns 0 when there are none.
func (w *Watcher) take() (n int, err error) {
	var failed error
	err = w.raw.Control(func(fd uintptr) { n, failed = w.row.Read(int(fd), w.buffer) })
	if errors.Is(failed, syscall.EAGAIN) {
		return 0, err
	}
	return n, errors.Join(err, failed)
}

func (w *Watcher) parse(b []byte) {
	for len(b) >= syscall.SizeofInotifyEvent {
		e := (*syscall.InotifyEvent)(unsafe.Pointer(&b[0]))
		end := syscall.SizeofInotifyEvent + int(e.Len)
		if end > len(b) {
			return
		}
		name, _, _ := bytes.Cut(b[syscall.SizeofInotifyEvent:end], []byte{0})
		w.event(e.Wd, e.Mask, e.Cookie, string(name))
		b = b[end:]
	}
}

// event handles one event of a watched directory.
func (w *Watcher) event(wd int32, mask, cookie uint32, name string) {
	dir, known := w.dirs[wd]
	switch {
	case mask&syscall.IN_Q_OVERFLOW != 0:
		w.report(Overflow, "", false)
	case mask&syscall.IN_IGNORED != 0:
		delete(w.dirs, wd)
	case !known || name == "": // of a directory that is not watched any more, or of a watched directory itself
	case w.ignores(name):
		if mask&syscall.IN_MOVED_FROM != 0 {
			w.cookies[cookie] = true
		}
	case w.o.Foreign && mask&syscall.IN_MOVED_TO != 0 && w.cookies[cookie]:
		if mask&syscall.IN_ISDIR != 0 && w.o.Deep {
			w.watchSilently(path.Join(dir, name))
		}
	default:
		w.change(mask, path.Join(dir, name))
	}
}

// ignores reports whether a name begins with Options.Ignore.
func (w *Watcher) ignores(name string) bool {
	return w.o.Ignore != "" && strings.HasPrefix(name, w.o.Ignore)
}

// change reports an event, and updates the watches when a directory was added or removed.
func (w *Watcher) change(mask uint32, p string) {
	isDir := mask&syscall.IN_ISDIR != 0
	switch {
	case mask&(syscall.IN_DELETE|syscall.IN_MOVED_FROM) != 0:
		if isDir {
			w.forget(p)
		}
		w.report(Removed, p, isDir)
	case mask&(syscall.IN_CREATE|syscall.IN_MOVED_TO) != 0:
		w.report(Created, p, isDir)
		if isDir && w.o.Deep {
			w.watchNew(p)
		}
	case mask&(syscall.IN_MODIFY|syscall.IN_CLOSE_WRITE) != 0:
		w.report(Modified, p, isDir)
	}
}

// watchSilently is watchNew without reports.
func (w *Watcher) watchSilently(p string) {
	reported := w.found
	w.found = nil
	w.watchNew(p)
	w.found = reported
}

// report adds a change for the next Read, unless it repeats the last one.
func (w *Watcher) report(op Op, p string, dir bool) {
	if n := len(w.found); n > 0 && w.found[n-1] == (Change{op, p, dir}) {
		return
	}
	if len(w.found) >= maxPending {
		// An overflow replaces the changes: user code makes them faster than the caller reads them.
		w.found = append(w.found[:0], Change{Op: Overflow})
	}
	w.found = append(w.found, Change{op, p, dir})
}

// miss records that a directory is not watched.
func (w *Watcher) miss(why error) {
	if w.missed == nil {
		w.missed = why
	}
	w.report(Overflow, "", false)
}

// watchNew watches a directory below the root, and reports the entries that it has already. It ignores a directory that
// is gone or cannot be read.
func (w *Watcher) watchNew(p string) {
	err := w.add(p)
	for _, shortage := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC, syscall.ENOMEM} {
		if errors.Is(err, shortage) {
			w.miss(err)
		}
	}
}

// add watches a directory. With Deep it also reports its entries and watches the directories below it.
func (w *Watcher) add(p string) error {
	if len(w.dirs) >= w.o.MaxDirs {
		w.miss(ErrDirs)
		return nil
	}
	if strings.Count(p, "/") >= MaxDepth {
		w.miss(ErrDepth)
		return nil
	}
	dir, err := w.root.OpenFile(p, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	wd := 0
	var failed error
	err = w.raw.Control(func(fd uintptr) {
		wd, failed = syscall.InotifyAddWatch(int(fd), fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), mask)
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("watch a directory: %w", err)
	}
	w.dirs[int32(wd)] = p
	if !w.o.Deep {
		return nil
	}
	return w.readDir(dir, p)
}

// readDir reports the entries of a directory, and watches the directories among them.
func (w *Watcher) readDir(dir *os.File, p string) error {
	for {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			if w.budget--; w.budget < 0 {
				w.miss(ErrEntries)
				return nil
			}
			name := path.Join(p, e.Name())
			if w.ignores(e.Name()) {
				continue
			}
			w.report(Created, name, e.IsDir())
			if e.IsDir() {
				w.watchNew(name)
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

// forget stops watching a directory that was moved or removed, and the directories below it.
func (w *Watcher) forget(p string) {
	for wd, dir := range w.dirs {
		if dir == p || strings.HasPrefix(dir, p+"/") {
			delete(w.dirs, wd)
			w.unwatch(wd)
		}
	}
}

// unwatch ends the watch of a directory. It fails if the directory was removed, and its watch with it.
func (w *Watcher) unwatch(wd int32) {
	_ = w.raw.Control(func(fd uintptr) { _, _ = syscall.InotifyRmWatch(int(fd), uint32(wd)) })
}
