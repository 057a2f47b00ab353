package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Export writes an image with one layer. For a path that ends in .tar it writes an archive for `docker load`, for any other
// path an OCI layout. The path must not exist. It is either written completely or not at all.
func (s *Store) Export(ctx context.Context, ref, path string, progress Progress) error {
	img, err := s.Resolve(ref)
	if err != nil {
		return err
	}
	if err := s.export(ctx, img, ref, path, progress); err != nil {
		return fmt.Errorf("export %s to %s: %w", ref, path, err)
	}
	return nil
}

func (s *Store) export(ctx context.Context, img Image, ref, path string, progress Progress) error {
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	work, err := os.MkdirTemp(filepath.Dir(path), ".cellhold-export-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	progress.say("compressing %d MiB", img.Size>>20)
	oci, err := asOCI(ctx, img, filepath.Join(work, "layer.tar.gz"))
	if err != nil {
		return err
	}
	progress.say("writing %s", path)
	out := filepath.Join(work, "out")
	if strings.HasSuffix(path, ".tar") {
		err = writeArchive(oci, ref, out)
	} else {
		err = writeLayout(oci, ref, out)
	}
	if err != nil {
		return err
	}
	return os.Rename(out, path)
}

func writeArchive(oci v1.Image, ref, out string) error {
	tag, err := name.NewTag(withTag(ref))
	if err != nil {
		tag, err = name.NewTag("cellhold-export:latest") // a digest is not a tag
	}
	if err != nil {
		return err
	}
	return tarball.WriteToFile(out, tag, oci)
}

func writeLayout(oci v1.Image, ref, out string) error {
	path, err := layout.Write(out, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendImage(oci, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": ref,
	}))
}

// asOCI returns an image with one layer. The layer is in a file, because its digest must be known before the image
// is written.
func asOCI(ctx context.Context, img Image, layerFile string) (v1.Image, error) {
	if err := writeLayer(ctx, img.Rootfs, layerFile); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromFile(layerFile)
	if err != nil {
		return nil, err
	}
	oci, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := oci.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Created = v1.Time{Time: img.Created}
	if recipe := recipeOf(img); recipe != "" {
		config.Config.Labels = map[string]string{recipeLabel: recipe}
	}
	return mutate.ConfigFile(oci, config)
}

func writeLayer(ctx context.Context, rootfs, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	// BestSpeed takes a quarter of the time, and the size is almost the same.
	zip, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	return errors.Join(pack(ctx, rootfs, zip), zip.Close(), f.Close())
}

func addToLayer(archive *tar.Writer, rootfs, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode().Type() == fs.ModeSymlink {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	// The owners on this host have no meaning elsewhere.
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{} // the same files must give the same layer
	h.Format = tar.FormatPAX
	if h.Name, err = filepath.Rel(rootfs, path); err != nil {
		return err
	}
	if d.IsDir() {
		h.Name += "/"
	}
	if err := archive.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(archive, f)
	return err
}
