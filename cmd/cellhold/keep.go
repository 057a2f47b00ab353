package main

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

// Bounds of what a script may leave beside itself. A script that is not trusted may also be one that
// fills a disk.
const (
	maxFigures     = 200       // nobody looks at more; most scripts draw some
	maxFigureBytes = 256 << 20 // in all: a large plot has 1 MB
	maxNumber      = 10_000    // of a file that is not there yet, before giving up
)

// figures are the files that one script's figures are saved to. What was there before is never
// written over.
type figures struct {
	stem      string // path without number and ending
	number    int    // the last one that was tried
	files     int
	bytes     int64
	byDisplay map[string]string // the file of a display that may be updated
	sizes     map[string]int64
}

// errFull says that a figure is not saved because there are enough.
var errFull = fmt.Errorf("%d figures or %d MiB are saved already", maxFigures, maxFigureBytes>>20)

func newFigures(stem string) *figures {
	return &figures{stem: stem, byDisplay: map[string]string{}, sizes: map[string]int64{}}
}

// save saves a figure and returns where. One that updates an earlier one of this script replaces its
// file.
func (f *figures) save(display, ending string, data []byte) (string, error) {
	path := f.byDisplay[display]
	again := display != "" && filepath.Ext(path) == ending
	if f.bytes+int64(len(data))-f.sizes[path] > maxFigureBytes || !again && f.files >= maxFigures {
		return "", errFull
	}
	if again {
		// A link that was put here meanwhile would lead the update elsewhere.
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

// saveFrom saves a figure that is read to its end, or to the bytes that are left for figures. It returns where.
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

// create makes a file of the next number that is free.
func (f *figures) create(ending string) (*os.File, error) {
	for range maxNumber {
		f.number++
		w, err := os.OpenFile(f.stem+"-"+strconv.Itoa(f.number)+ending, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return w, err
		}
	}
	return nil, fmt.Errorf("%s-1%s to %s-%d%s are there already", f.stem, ending, f.stem, f.number, ending)
}

func (f *figures) write(w *os.File, path string, data []byte) error {
	_, err := w.Write(data)
	f.bytes += int64(len(data)) - f.sizes[path]
	f.sizes[path] = int64(len(data))
	return errors.Join(err, w.Close())
}

// folder makes a folder for the script's files: stem-output, or with the next number that is free.
func (f *figures) folder() (string, error) {
	name := f.stem + "-output"
	for n := 2; n < maxNumber; n++ {
		err := os.Mkdir(name, 0o755)
		if !errors.Is(err, fs.ErrExist) {
			return name, err
		}
		name = f.stem + "-output-" + strconv.Itoa(n)
	}
	return "", fmt.Errorf("%s-output and %d more are there already", f.stem, maxNumber)
}
