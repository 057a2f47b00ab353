package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// give creates a folder and gives it to the user. A folder with files, or of another user, stays as it is: it is probably
// a folder of the host, whose owner must decide.
func (d Drop) give(dir string) error {
	path, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	at, owner, err := walk(path)
	if err != nil {
		return fmt.Errorf("prepare the folder %s: %w", path, err)
	}
	defer unix.Close(at)
	if owner != 0 {
		return nil // root without its capabilities cannot even list it
	}
	fd, err := unix.Openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	folder := os.NewFile(uintptr(fd), path)
	defer folder.Close()
	if files, err := folder.ReadDir(0); err != nil || len(files) > 0 {
		return err
	}
	return folder.Chown(d.User.UID, d.User.GID)
}

// walk opens a folder with O_PATH, and creates missing folders of its path. It returns the owner too. It follows no link,
// and enters no folder of another user than root. There, that user could replace each name by a link, and root would
// create folders and give them away outside. So at such a folder the walk ends: its owner can create what is below it.
func walk(path string) (at int, owner uint32, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if at, err = unix.Open("/", flags, 0); err != nil {
		return -1, 0, err
	}
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' }) {
		if owner, err = ownerOf(at); err != nil || owner != 0 {
			break
		}
		next, failed := unix.Openat(at, name, flags, 0)
		if errors.Is(failed, unix.ENOENT) {
			if failed = unix.Mkdirat(at, name, 0o711); failed == nil {
				next, failed = unix.Openat(at, name, flags, 0)
			}
		}
		unix.Close(at)
		if at, err = next, failed; errors.Is(err, unix.ENOTDIR) {
			err = fmt.Errorf("%s is a link or a file; give the path of a folder without links", name)
		}
		if err != nil {
			return -1, 0, err
		}
	}
	if err == nil {
		owner, err = ownerOf(at)
	}
	if err != nil {
		unix.Close(at)
		return -1, 0, err
	}
	return at, owner, nil
}

func ownerOf(fd int) (uint32, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Uid, err
}
