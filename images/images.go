// Package images carries the recipes of the stock images inside the binary.
//
// It holds files only; package image reads and builds them. A recipe that has a file "base" is the
// recipe named there with its own files added to it: of packages.txt and check.py its text comes after
// that of the base, its build.sh runs before the base's, which ends with cutting off the network and
// compiling. Any other file replaces the base's.
package images

import (
	"archive/zip"
	"bytes"
	"embed"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

//go:embed python polyglot
var files embed.FS

// appended are the files that a recipe appends to those of its base.
var appended = []string{"packages.txt", "check.py"}

// first is the file that begins with the base's own text.
const first = "build.sh"

// Recipe returns the recipe of that name, or an error wrapping fs.ErrNotExist.
func Recipe(name string) (fs.FS, error) {
	if _, err := fs.Stat(files, name); err != nil {
		return nil, err
	}
	return whole(files, name)
}

// whole returns the files of a recipe, those of its base included.
func whole(all fs.FS, name string) (fs.FS, error) {
	own, err := fs.Sub(all, name)
	if err != nil {
		return nil, err
	}
	base, err := fs.ReadFile(own, "base")
	if errors.Is(err, fs.ErrNotExist) {
		return own, nil
	}
	if err != nil {
		return nil, err
	}
	below, err := whole(all, strings.TrimSpace(string(base)))
	if err != nil {
		return nil, err
	}
	return merge(below, own)
}

// merge lays one set of files over another.
func merge(below, over fs.FS) (fs.FS, error) {
	texts, err := read(below)
	if err != nil {
		return nil, err
	}
	more, err := read(over)
	if err != nil {
		return nil, err
	}
	for _, name := range appended {
		if _, ok := more[name]; ok {
			more[name] = slices.Concat(texts[name], more[name])
		}
	}
	if _, ok := more[first]; ok {
		more[first] = slices.Concat(more[first], texts[first])
	}
	maps.Copy(texts, more)
	return archive(texts)
}

func read(from fs.FS) (map[string][]byte, error) {
	texts := map[string][]byte{}
	err := fs.WalkDir(from, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			texts[path], err = fs.ReadFile(from, path)
		}
		return err
	})
	return texts, err
}

// archive makes a file system of texts: a zip file in memory is the one that the standard library has.
func archive(texts map[string][]byte) (fs.FS, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, path := range slices.Sorted(maps.Keys(texts)) {
		h := &zip.FileHeader{Name: path}
		h.SetMode(0o644)
		f, err := w.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(texts[path]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
}
