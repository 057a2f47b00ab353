package image

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ImportFolder stores the files of a folder as an image, as in a build of a container image, where another program
// prepares the files. The rules for layers apply: the image has no devices and no set-id bits. The address follows from
// the files. If name is empty, the name of the folder is used. A link to a folder is followed. The folder must not change
// during the import, so a folder that contains the store is refused.
func (s *Store) ImportFolder(ctx context.Context, folder, name string, progress Progress) (Image, error) {
	release, err := s.lock(ctx, progress)
	if err != nil {
		return Image{}, err
	}
	defer release()
	img, err := s.addFolder(ctx, folder, name, progress)
	if err != nil {
		return Image{}, fmt.Errorf("import %s: %w", folder, err)
	}
	return img, nil
}

// addFolder copies a folder into the store, unless the store has its files, and names it. The caller must hold the lock.
func (s *Store) addFolder(ctx context.Context, folder, name string, progress Progress) (Image, error) {
	name, err := importedName(name, "", absolute(folder))
	if err != nil {
		return Image{}, err
	}
	if folder, err = s.folderWithoutStore(folder); err != nil {
		return Image{}, err
	}
	work, remove, err := s.workDir(ctx)
	if err != nil {
		return Image{}, err
	}
	defer remove(ctx)
	progress.say("copying %s", folder)
	sum, err := s.copyFolder(ctx, folder, filepath.Join(work, imageDir, rootfsDir))
	if err != nil {
		return Image{}, err
	}
	src := source{digest: sum, where: absolute(folder)}
	digest := src.address()
	if _, err := s.load(digest, nil); errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		if _, err := s.commit(work, Image{Digest: digest, Source: src.from()}); err != nil {
			return Image{}, err
		}
	} else if err != nil {
		return Image{}, err
	}
	if err := s.setName(name, digest); err != nil {
		return Image{}, err
	}
	return s.Resolve(digest)
}

// folderWithoutStore returns the path of a folder without links. It refuses a folder that contains the store.
func (s *Store) folderWithoutStore(folder string) (string, error) {
	path, err := filepath.EvalSymlinks(absolute(folder))
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err != nil {
		return "", err
	} else if !info.IsDir() {
		return "", errors.New("not a folder; import an archive without --rootfs")
	}
	store, err := filepath.EvalSymlinks(absolute(s.dir))
	if err != nil {
		return "", err
	}
	if below, err := filepath.Rel(path, store); err == nil && filepath.IsLocal(below) {
		return "", fmt.Errorf("the folder contains the store of images %s, which the import changes; import a folder without it, or choose another store with --images", store)
	}
	return path, nil
}

// copyFolder copies the files of a folder as one layer, and returns the digest of this layer.
func (s *Store) copyFolder(ctx context.Context, folder, to string) (digest string, err error) {
	u, err := newUnpacker(to, s.limits)
	if err != nil {
		return "", err
	}
	defer u.Close()
	out, in := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := pack(ctx, folder, in)
		in.CloseWithError(err) // nil is the end of the layer
		packed <- err
	}()
	hash := sha256.New()
	layer := io.TeeReader(bufio.NewReaderSize(u.budget.layer(out), 1<<20), hash)
	err = u.layer(ctx, layer)
	if err == nil {
		_, err = io.Copy(io.Discard, layer) // the end of an archive has padding
	}
	out.Close() // ends pack after an error
	if failed := <-packed; err == nil {
		err = failed
	}
	if err != nil {
		return "", err
	}
	return algorithm + hex.EncodeToString(hash.Sum(nil)), u.mountPoints()
}

// pack writes the files of a folder as an archive. WalkDir uses lexical order, so the same files give the same archive.
func pack(ctx context.Context, folder string, to io.Writer) error {
	archive := tar.NewWriter(to)
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil || path == folder || d.Type() == fs.ModeSocket {
			return err // an archive cannot have a socket, and an image needs none
		}
		return addToLayer(archive, folder, path, d)
	})
	return errors.Join(err, archive.Close())
}
