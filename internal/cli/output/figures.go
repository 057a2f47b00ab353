package output

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
)

// Limits of the figures that one command saves. Untrusted code could otherwise fill the disk.
const (
	maxFigures     = 500
	maxFigureBytes = 256 << 20
	maxNumber      = 10_000 // limit of the numbers that are tried for a free file name
)

// errFull says that a figure is not saved because the limit is reached.
var errFull = fmt.Errorf("the limit of %d figures or %d MiB is reached", maxFigures, maxFigureBytes>>20)

// Figures are files with figures in one folder. They never replace a file that existed before.
type Figures struct {
	Dir string // created with the first figure

	number, files int
	bytes         int64
	byDisplay     map[string]string // paths by display id; a later output with the same id updates the figure
}

// save saves a figure and returns its absolute path.
func (f *Figures) save(display, ending string, data []byte) (string, error) {
	if f.bytes+int64(len(data)) > maxFigureBytes || f.files >= maxFigures {
		return "", errFull
	}
	w, err := f.open(display, ending)
	if err != nil {
		return "", err
	}
	f.files++
	f.bytes += int64(len(data))
	_, err = w.Write(data)
	return w.Name(), errors.Join(err, w.Close())
}

// open opens the file of a figure: a new one, or that of the figure with the same display id.
func (f *Figures) open(display, ending string) (*os.File, error) {
	if path := f.byDisplay[display]; display != "" && filepath.Ext(path) == ending {
		// NOFOLLOW: a link that was put here in the meantime would redirect the update.
		return os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0)
	}
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for range maxNumber {
		f.number++
		path := filepath.Join(dir, fmt.Sprintf("figure-%d%s", f.number, ending))
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil && display != "" {
			if f.byDisplay == nil {
				f.byDisplay = map[string]string{}
			}
			f.byDisplay[display] = path
		}
		return w, err
	}
	return nil, fmt.Errorf("all names up to figure-%d%s in %s are taken", f.number, ending, dir)
}

// Link returns a path that people can click in terminals with links (OSC 8). Other terminals show the path.
func Link(path string, links bool) string {
	if !links {
		return path
	}
	host, _ := os.Hostname() // an empty host means this machine too
	u := url.URL{Scheme: "file", Host: host, Path: path}
	return "\x1b]8;;" + u.String() + "\x1b\\" + path + "\x1b]8;;\x1b\\"
}
