package script

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Limits of the figures that a script can save on this machine. An untrusted script could otherwise fill the disk.
const (
	maxFigures     = 200       // far more than scripts usually draw
	maxFigureBytes = 256 << 20 // of all figures; a large plot has 1 MB
	maxNumber      = 10_000    // limit of the numbers that are tried for a free file name
)

// figures are the files with the figures of one script. They never replace a file that existed before.
type figures struct {
	stem      string // path without the number and the extension
	number    int    // the last number that was tried
	files     int
	bytes     int64
	byDisplay map[string]string // paths by display id; a later output with the same id updates the figure
	sizes     map[string]int64  // by path
}

// errFull says that a figure is not saved because the limit is reached.
var errFull = fmt.Errorf("the limit of %d figures or %d MiB is reached", maxFigures, maxFigureBytes>>20)

func newFigures(stem string) *figures {
	return &figures{stem: stem, byDisplay: map[string]string{}, sizes: map[string]int64{}}
}

// save saves a figure and returns its path. A figure that updates an earlier one of this script replaces its file.
func (f *figures) save(display, ending string, data []byte) (string, error) {
	path := f.byDisplay[display]
	again := display != "" && filepath.Ext(path) == ending
	if f.bytes+int64(len(data))-f.sizes[path] > maxFigureBytes || !again && f.files >= maxFigures {
		return "", errFull
	}
	if again {
		// NOFOLLOW: a link that was put here in the meantime would redirect the update.
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return "", err
		}
		return path, f.write(w, path, data)
	}
	w, err := f.create(ending)
	if err != nil {
		return "", err
	}
	f.files++
	if display != "" {
		f.byDisplay[display] = w.Name()
	}
	return w.Name(), f.write(w, w.Name(), data)
}

// saveFrom saves a figure from a reader and returns its path. If the figure exceeds the bytes that the limit leaves,
// saveFrom removes its file and returns errFull.
func (f *figures) saveFrom(ending string, from io.Reader) (string, error) {
	if f.files >= maxFigures {
		return "", errFull
	}
	w, err := f.create(ending)
	if err != nil {
		return "", err
	}
	n, err := io.Copy(w, &bounded{from: from, left: maxFigureBytes - f.bytes})
	if errors.Is(err, errTooLong) {
		err = errFull
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return "", errors.Join(err, os.Remove(w.Name()))
	}
	f.files++
	f.bytes += n
	f.sizes[w.Name()] = n
	return w.Name(), nil
}

// create creates a file with the next free number.
func (f *figures) create(ending string) (*os.File, error) {
	for range maxNumber {
		f.number++
		w, err := os.OpenFile(f.stem+"-"+strconv.Itoa(f.number)+ending, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return w, err
		}
	}
	return nil, fmt.Errorf("all names from %s-%d%s to %s-%d%s are taken", f.stem, f.number-maxNumber+1, ending, f.stem, f.number, ending)
}

func (f *figures) write(w *os.File, path string, data []byte) error {
	_, err := w.Write(data)
	f.bytes += int64(len(data)) - f.sizes[path]
	f.sizes[path] = int64(len(data))
	return errors.Join(err, w.Close())
}

// folder creates a folder for the script's files: stem-output, or stem-output-N with the next free number.
func (f *figures) folder() (string, error) {
	name := f.stem + "-output"
	for n := 2; n < maxNumber; n++ {
		err := os.Mkdir(name, 0o755)
		if !errors.Is(err, fs.ErrExist) {
			return name, err
		}
		name = f.stem + "-output-" + strconv.Itoa(n)
	}
	return "", fmt.Errorf("all names from %s-output to %s-output-%d are taken", f.stem, f.stem, maxNumber-2)
}
