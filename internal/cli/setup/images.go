package setup

import (
	"cellhold"
	"cellhold/internal/image"
	"cellhold/internal/session"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// ImagesDir returns the folder of images if no setting names one.
func ImagesDir(home string) string { return filepath.Join(home, "images") }

// OpenImages opens the image store in a folder. If the folder is in the home, OpenImages creates the home. inUse can be
// nil.
func OpenImages(home, dir string, log *slog.Logger, inUse func(string) bool) (*image.Store, error) {
	if dir == ImagesDir(home) {
		if err := MakeHome(home); err != nil {
			return nil, err
		}
	}
	return image.Open(image.Options{Dir: dir, Logger: log, InUse: inUse})
}

// OpenExisting opens an image store that exists. A command that only reads must not create a mistyped folder.
func OpenExisting(home, dir string, log *slog.Logger, inUse func(string) bool) (*image.Store, error) {
	folder, remedy := home, "there is no home %s; create it with cellhold image build, or give another home with --home"
	if dir != ImagesDir(home) {
		folder, remedy = dir, "there is no folder of images %s; create it with cellhold image build, or give another one with --images"
	}
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf(remedy, folder)
	}
	return OpenImages(home, dir, log, inUse)
}

// ImageFinder resolves the images of sessions in an image store.
type ImageFinder struct {
	Images *image.Store
}

// Resolve finds an image by name.
func (f ImageFinder) Resolve(name string) (session.Image, error) {
	img, err := f.Images.Resolve(name)
	if errors.Is(err, image.ErrNotFound) {
		return session.Image{}, cellhold.Wrap(cellhold.NotFound, err,
			"Image %q not found. To build the stock images, run: cellhold image build, or cellhold image build polyglot", name)
	}
	if errors.Is(err, image.ErrDamaged) {
		return session.Image{}, cellhold.Wrap(cellhold.Unavailable, err,
			"The record of image %q is damaged. To write it again, run cellhold image build, or import the image again; then restart the server.", name)
	}
	if err != nil {
		return session.Image{}, err
	}
	if info, err := os.Stat(img.Rootfs); err != nil || !info.IsDir() {
		return session.Image{}, cellhold.Wrap(cellhold.Unavailable, err,
			"Image %q has no files in %s. Remove it and build it again: cellhold image rm, then cellhold image build", name, img.Rootfs)
	}
	return session.Image{Name: name, Digest: img.Digest, Rootfs: Resolved(img.Rootfs)}, nil
}
