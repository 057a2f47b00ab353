// Package notify reports changes in a directory and in the directories below it, with inotify.
//
// It reads only directories that appear; for all others it relies on the operating system. It follows no
// links. Every directory is opened below the root and watched through its open file, so that moved
// directories lead nowhere else. It does not report every change: changes beyond its bounds become an
// overflow, after which the caller must read the directory itself.
//
// A Watcher has no lock; one goroutine at a time can use it.
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
	mask = syscall.IN_CREATE | syscall.IN_MODIFY | syscall.IN_CLOSE_WRITE | syscall.IN_DELETE |
		syscall.IN_MOVED_FROM | syscall.IN_MOVED_TO | syscall.IN_ONLYDIR
	// readSize is the number of bytes of events that are read at once: some hundred events.
	readSize = 8 << 10
	// readTime bounds one Read: user code can make events faster than they can be read, and the caller has
	// other work. After that time events are dropped, at most maxDropped buffers of them.
	readTime   = 50 * time.Millisecond
	maxDropped = 4096
	// maxPending bounds the changes that one Read returns.
	maxPending = 20_000
	// maxFound bounds the entries of new directories that one Read looks at.
	maxFound = 10_000
	// maxDepth is the depth to which directories are watched. Each directory is opened from the root on,
	// while all above it are open. A thousand nested directories would take seconds and a thousand open
	// files.
	maxDepth = 100
)

// Options configures a Watcher.
type Options struct {
	Dir     string // the root; required
	Deep    bool   // also the directories below it
	MaxDirs int    // limit of watched directories; required
	Ignore  string // prefix of names that are not reported; empty ignores none
	Foreign bool   // also ignore files that are moved from such a name to another one
}

// Watcher watches one directory.
type Watcher struct {
	o      Options
	root   *os.Root
	events *os.File
	raw    syscall.RawConn
	row    rawio.Row
	dirs   map[int32]string
	buffer []byte

	found   []Change // changes for the next Read
	budget  int      // entries that Read can still look at
	cookies map[uint32]bool
	full    bool // an overflow was reported because there were too many directories
}

// New starts to watch. The caller must close the Watcher.
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
		buffer: make([]byte, readSize), budget: maxFound, cookies: map[uint32]bool{}}
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

// Close ends a Wait in progress. It can be called from any goroutine.
func (w *Watcher) Close() error { return errors.Join(w.events.Close(), w.root.Close()) }

// Wait returns when there are events to read.
func (w *Watcher) Wait() error {
	return w.raw.Read(func(fd uintptr) bool {
		var n int32 // FIONREAD reports the size of the events without reading them
		_, _, e := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
		return e == 0 && n > 0
	})
}

// Read returns the changes since the last Read, and does not wait.
func (w *Watcher) Read() ([]Change, error) {
	w.budget = maxFound
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
	case !known || name == "":
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

// ignores reports whether a name begins with the prefix that is not reported.
func (w *Watcher) ignores(name string) bool {
	return w.o.Ignore != "" && strings.HasPrefix(name, w.o.Ignore)
}

// change reports an event, and updates the watches when a directory appeared or went away.
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
			w.appeared(p)
		}
	case mask&(syscall.IN_MODIFY|syscall.IN_CLOSE_WRITE) != 0:
		w.report(Modified, p, isDir)
	}
}

// watchSilently watches a new directory and reports nothing of it.
func (w *Watcher) watchSilently(p string) {
	reported := w.found
	w.found = nil
	w.appeared(p)
	w.found = reported
}

func (w *Watcher) report(op Op, p string, dir bool) {
	if n := len(w.found); n > 0 && w.found[n-1] == (Change{op, p, dir}) {
		return
	}
	if len(w.found) >= maxPending {
		// User code makes changes faster than they are read.
		w.found = append(w.found[:0], Change{Op: Overflow})
	}
	w.found = append(w.found, Change{op, p, dir})
}

// appeared watches a new directory, and reports entries that were put into it before the watch.
func (w *Watcher) appeared(p string) {
	if err := w.add(p); errors.Is(err, errFull) && !w.full {
		w.full = true
		w.report(Overflow, "", false)
	}
}

var (
	errFull = errors.New("too many directories")
	errDeep = errors.New("the directory is too deep")
)

// add watches a directory and the directories below it.
func (w *Watcher) add(p string) error {
	if len(w.dirs) >= w.o.MaxDirs {
		return errFull
	}
	if strings.Count(p, "/") >= maxDepth {
		w.report(Overflow, "", false)
		return errDeep
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
	return w.look(dir, p)
}

// look reports the entries of a directory, and watches the directories among them.
func (w *Watcher) look(dir *os.File, p string) error {
	for {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			if w.budget--; w.budget < 0 {
				return errFull
			}
			name := path.Join(p, e.Name())
			if w.ignores(e.Name()) {
				continue
			}
			w.report(Created, name, e.IsDir())
			if e.IsDir() {
				if err := w.add(name); errors.Is(err, errFull) {
					return err
				}
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
			_ = w.raw.Control(func(fd uintptr) {
				_, _ = syscall.InotifyRmWatch(int(fd), uint32(wd)) // the directory may be gone, and its watch with it
			})
		}
	}
}
