// Package images carries the recipes of the stock images inside the binary.
//
// It holds files only; package image reads and builds them. A recipe with a file "base" extends the recipe
// that the file names. Its packages.txt and check.py come after those of the base. Its build.sh comes before
// that of the base, which removes resolv.conf and, at its end, compiles all modules. Any other file replaces
// the base's file.
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

// The second line is for files of Python whose names begin with an underscore: a folder leaves them out.
//
//go:embed python polyglot
//go:embed python/files/usr/local/lib/python3.13/dist-packages/*/__*.py
var files embed.FS

// appended lists the files whose text comes after that of the base.
var appended = []string{"packages.txt", "check.py"}

// prepended is the file whose text comes before that of the base.
const prepended = "build.sh"

// Recipe returns the recipe of that name, or an error wrapping fs.ErrNotExist.
func Recipe(name string) (fs.FS, error) {
	if _, err := fs.Stat(files, name); err != nil {
		return nil, err
	}
	return whole(files, name)
}

// whole returns all files of a recipe, including those of its base.
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

// merge combines the files of a base, below, with the files of a recipe, over.
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
	if _, ok := more[prepended]; ok {
		more[prepended] = slices.Concat(more[prepended], texts[prepended])
	}
	maps.Copy(texts, more)
	return archive(texts)
}

// read returns the contents of all files by path.
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

// archive returns a file system with the texts. It is a zip file, because outside of tests the standard
// library has no other file system in memory.
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
