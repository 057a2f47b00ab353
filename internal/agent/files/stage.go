package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

const (
	// maxRatio is the limit of an archive's expansion, once its content is larger than ratioFrom. Text
	// expands 20 times, logs of one repeated line 100 times, a zip bomb 1000 times.
	maxRatio  = 200
	ratioFrom = 64 << 20
	// maxNames bounds the bytes of all names together, which are kept in memory.
	maxNames = 32 << 20
)

// counter counts the bytes that are read.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// stage puts the entries of an archive into an empty directory, and trusts none of them. It makes symbolic
// links last, so that nothing is written through one. It accepts only links whose target is in the archive.
type stage struct {
	root  *os.Root
	in    *counter        // the archive
	limit int64           // bytes that all files can have together
	out   int64           // bytes that were written so far
	seen  int             // entries so far
	names map[string]bool // entries so far; true for directories
	links [][2]string     // names and targets
	modes []dirMode

	nameBytes int // bytes of all names
	buffer    []byte
}

// dirMode is the mode of a directory. It is set when the directory is complete, because until then the
// process must be able to write to it.
type dirMode struct {
	name string
	mode fs.FileMode
}

var errTooMany = cellhold.Errorf(cellhold.Exhausted, "The archive has more than %d entries.", guestapi.MaxArchiveEntries)

func (s *stage) tooLarge() error {
	return cellhold.Errorf(cellhold.Exhausted, "The archive's content is larger than the limit of %d bytes.", s.limit)
}

// count counts one entry.
func (s *stage) count() error {
	if s.seen++; s.seen > guestapi.MaxArchiveEntries {
		return errTooMany
	}
	return nil
}

// enter checks the name of an entry, makes the directories above it and returns the name in clean form. The
// empty string means the root itself.
func (s *stage) enter(name string, dir bool) (string, error) {
	if err := s.count(); err != nil {
		return "", err
	}
	bad := func(what string) error {
		return cellhold.Errorf(cellhold.Invalid, "The archive has an entry whose name %s.", what)
	}
	if strings.HasPrefix(name, "/") {
		return "", bad("begins with a slash")
	}
	if name == "" || checkPath(name) != nil {
		return "", bad("is empty, too long, too deep or outside the archive")
	}
	if name = path.Clean(name); name == "." {
		if !dir {
			return "", bad("is a dot")
		}
		return "", nil
	}
	if strings.HasPrefix(name, tempPrefix) {
		return "", bad("is reserved")
	}
	if was, twice := s.names[name]; twice && !(was && dir) {
		return "", bad("is used twice")
	}
	if s.nameBytes += len(name); s.nameBytes > maxNames {
		return "", errTooMany
	}
	if err := s.above(path.Dir(name)); err != nil {
		return "", err
	}
	s.names[name] = dir
	return name, nil
}

// above makes a missing directory and its missing parents, for an entry below them. They count as entries.
func (s *stage) above(dir string) error {
	if dir == "." || s.names[dir] {
		return nil
	}
	if err := s.above(path.Dir(dir)); err != nil {
		return err
	}
	if err := s.count(); err != nil {
		return err
	}
	if s.nameBytes += len(dir); s.nameBytes > maxNames {
		return errTooMany
	}
	if err := s.root.Mkdir(dir, 0o755); err != nil {
		return entryError(err)
	}
	s.names[dir] = true
	return nil
}

// entryError returns an error about the archive if two entries contradict each other. Otherwise it returns err.
func entryError(err error) error {
	if errors.Is(err, fs.ErrExist) || isErrno(err, syscall.ENOTDIR, syscall.EISDIR) {
		return cellhold.Wrap(cellhold.Invalid, err, "The archive has the same name twice, or as a file and as a directory.")
	}
	return err
}

func (s *stage) directory(name string, mode fs.FileMode) error {
	name, err := s.enter(name, true)
	if err != nil || name == "" {
		return err
	}
	if err := s.root.Mkdir(name, 0o755); err != nil {
		// It may exist already, made for an entry below it.
		if info, statErr := s.root.Lstat(name); statErr != nil || !info.IsDir() {
			return entryError(err)
		}
	}
	if mode != 0 && mode != 0o755 {
		s.modes = append(s.modes, dirMode{name, mode})
	}
	return nil
}

func (s *stage) file(name string, mode fs.FileMode, modified time.Time, r io.Reader) error {
	name, err := s.enter(name, false)
	if err != nil {
		return err
	}
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return entryError(err)
	}
	err = s.fill(f, r)
	if mode == 0 {
		mode = 0o644 // made on a system without permission bits
	}
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	if year := modified.Year(); year >= 1970 && year < 2200 {
		return s.root.Chtimes(name, modified, modified)
	}
	return nil
}

// fill copies one file, and stops when the archive expands too much.
func (s *stage) fill(w io.Writer, r io.Reader) error {
	if s.buffer == nil {
		s.buffer = make([]byte, copyBuffer)
	}
	for {
		n, err := r.Read(s.buffer)
		s.out += int64(n)
		if s.out > s.limit {
			return s.tooLarge()
		}
		if s.out > ratioFrom && s.out/maxRatio > s.in.n {
			return cellhold.Errorf(cellhold.Invalid, "The archive expands more than %d times. It is refused as a possible zip bomb.", maxRatio)
		}
		if _, err := w.Write(s.buffer[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// link records a symbolic link. Its target can have ".." only at its beginning: after the name of another
// link, ".." leads to a different directory than it seems.
func (s *stage) link(name, target string) error {
	name, err := s.enter(name, false)
	if err != nil {
		return err
	}
	down := false
	up := 0
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == ".." && down:
			up = guestapi.MaxFileDepth // more than any name has, so that the check below refuses the link
		case part == "..":
			up++
		case part != "" && part != ".":
			down = true
		}
	}
	if target == "" || len(target) > maxLinkTarget || strings.HasPrefix(target, "/") || strings.ContainsRune(target, 0) ||
		up > strings.Count(name, "/") {
		return cellhold.Errorf(cellhold.Invalid, "The archive has a symbolic link to a path outside it.")
	}
	s.links = append(s.links, [2]string{name, target})
	return nil
}

// finish makes the links, and sets the modes of the directories, in the reverse order of the archive.
func (s *stage) finish() error {
	for _, l := range s.links {
		if err := s.root.Symlink(l[1], l[0]); err != nil {
			return entryError(err)
		}
	}
	for i := len(s.modes) - 1; i >= 0; i-- {
		// The owner keeps all rights on the directory, so that publish can move and remove its entries.
		if err := s.root.Chmod(s.modes[i].name, s.modes[i].mode|0o700); err != nil {
			return err
		}
	}
	return nil
}
