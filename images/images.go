// Package images carries the recipes of the stock images inside the binary.
//
// It holds files only; package image reads and builds them.
package images

import (
	"embed"
	"io/fs"
)

//go:embed python
var files embed.FS

// Recipe returns the recipe of that name, or an error wrapping fs.ErrNotExist.
func Recipe(name string) (fs.FS, error) {
	if _, err := fs.Stat(files, name); err != nil {
		return nil, err
	}
	return fs.Sub(files, name)
}
