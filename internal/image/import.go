package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Import unpacks an image from an OCI layout (a directory, or an archive of one) or from an archive of `docker save`, gzipped
// or not. If name is empty, the image's own name is used, or otherwise the name of the file.
func (s *Store) Import(ctx context.Context, path, name string, progress Progress) (Image, error) {
	release, err := s.lock(ctx, progress)
	if err != nil {
		return Image{}, err
	}
	defer release()
	img, err := s.importFrom(ctx, path, name, progress)
	if err != nil {
		return Image{}, fmt.Errorf("import %s: %w", path, err)
	}
	return img, nil
}

func (s *Store) importFrom(ctx context.Context, path, name string, progress Progress) (Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Image{}, err
	}
	dir := path
	if !info.IsDir() {
		work, remove, err := s.workDir(ctx)
		if err != nil {
			return Image{}, err
		}
		defer remove(ctx)
		dir = filepath.Join(work, imageDir, rootfsDir)
		progress.say("reading %s", path)
		if err := s.openArchive(ctx, path, dir); err != nil {
			return Image{}, err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Image{}, err
	}
	defer root.Close()
	src, suggested, err := readSource(root)
	if err != nil {
		return Image{}, err
	}
	src.where = absolute(path)
	if name, err = importedName(name, suggested, path); err != nil {
		return Image{}, err
	}
	return s.add(ctx, src, name, progress)
}

// openArchive unpacks the outer archive like a layer, because it is not trusted either.
func (s *Store) openArchive(ctx context.Context, path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	u, err := newUnpacker(dir, s.limits)
	if err != nil {
		return err
	}
	defer u.Close()
	plain, err := decompress(u.budget.layer(f))
	if err != nil {
		return err
	}
	defer plain.Close()
	return u.layer(ctx, plain)
}

// readSource reads an image's metadata. The blobs are read later, through the root. `docker save` now writes both formats; its
// own format contains the names.
func readSource(root *os.Root) (src source, name string, err error) {
	if _, err := root.Lstat("manifest.json"); err == nil {
		return dockerSource(root)
	}
	if _, err := root.Lstat("index.json"); err == nil {
		return layoutSource(root)
	}
	return source{}, "", errors.New("unknown format; use an OCI layout or a docker save archive")
}

// dockerSource reads an archive of `docker save`.
func dockerSource(root *os.Root) (source, string, error) {
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	data, err := readSmall(root, "manifest.json")
	if err != nil {
		return source{}, "", err
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return source{}, "", fmt.Errorf("manifest.json: %w", err)
	}
	if len(manifest) != 1 {
		return source{}, "", fmt.Errorf("the archive has %d images; save one image at a time", len(manifest))
	}
	m := manifest[0]
	config, err := readSmall(root, m.Config)
	if err != nil {
		return source{}, "", err
	}
	diffIDs, err := diffIDsOf(config, len(m.Layers))
	if err != nil {
		return source{}, "", err
	}
	src := source{digest: digestOfString(string(config)), recipe: claimedRecipe(config)}
	for i, layer := range m.Layers {
		src.layers = append(src.layers, fileBlob(root, layer, diffIDs[i]))
	}
	name := ""
	if len(m.RepoTags) > 0 {
		name = m.RepoTags[0]
	}
	return src, name, nil
}

// layoutSource reads an OCI layout.
func layoutSource(root *os.Root) (source, string, error) {
	data, err := readSmall(root, "index.json")
	if err != nil {
		return source{}, "", err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return source{}, "", fmt.Errorf("index.json: %w", err)
	}
	desc, err := choose(root, index.Manifests, 0)
	if err != nil {
		return source{}, "", err
	}
	var manifest v1.Manifest
	if err := readBlob(root, desc.Digest, &manifest); err != nil {
		return source{}, "", err
	}
	var config json.RawMessage
	if err := readBlob(root, manifest.Config.Digest, &config); err != nil {
		return source{}, "", err
	}
	diffIDs, err := diffIDsOf(config, len(manifest.Layers))
	if err != nil {
		return source{}, "", err
	}
	src := source{digest: desc.Digest.String(), recipe: claimedRecipe(config)}
	for i, l := range manifest.Layers {
		src.layers = append(src.layers, fileBlob(root, blobPath(l.Digest), diffIDs[i]))
	}
	return src, desc.Annotations["org.opencontainers.image.ref.name"], nil
}

// deepestIndex bounds nested indexes. Real images have at most one inside another.
const deepestIndex = 3

// choose finds the image for this machine in an index.
func choose(root *os.Root, manifests []v1.Descriptor, depth int) (v1.Descriptor, error) {
	if depth > deepestIndex {
		return v1.Descriptor{}, errors.New("the index is nested too deeply")
	}
	var fitting []v1.Descriptor
	for _, m := range manifests {
		if m.Platform == nil || m.Platform.OS == "linux" && m.Platform.Architecture == runtime.GOARCH {
			fitting = append(fitting, m)
		}
	}
	if len(fitting) != 1 {
		return v1.Descriptor{}, fmt.Errorf("found %d images for linux/%s, want one", len(fitting), runtime.GOARCH)
	}
	if !fitting[0].MediaType.IsIndex() {
		return fitting[0], nil
	}
	var inner v1.IndexManifest
	if err := readBlob(root, fitting[0].Digest, &inner); err != nil {
		return v1.Descriptor{}, err
	}
	desc, err := choose(root, inner.Manifests, depth+1)
	if desc.Annotations == nil {
		desc.Annotations = fitting[0].Annotations
	}
	return desc, err
}

// diffIDsOf returns the digests of the uncompressed layers from a configuration.
func diffIDsOf(config []byte, layers int) ([]string, error) {
	var c struct {
		Architecture string `json:"architecture"`
		RootFS       struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	if len(c.RootFS.DiffIDs) != layers || layers == 0 {
		return nil, fmt.Errorf("the image configuration has %d layers, but the manifest has %d", len(c.RootFS.DiffIDs), layers)
	}
	if c.Architecture != "" && c.Architecture != runtime.GOARCH {
		return nil, fmt.Errorf("the image is for %.40q, but this machine is %s", c.Architecture, runtime.GOARCH)
	}
	return c.RootFS.DiffIDs, nil
}

func fileBlob(root *os.Root, name, diffID string) blob {
	return blob{diffID: diffID, open: func() (io.ReadCloser, error) { return root.Open(filepath.Clean(name)) }}
}

func blobPath(h v1.Hash) string { return filepath.Join("blobs", h.Algorithm, h.Hex) }

// readBlob reads a JSON blob of a layout and checks its digest.
func readBlob(root *os.Root, h v1.Hash, into any) error {
	data, err := readSmall(root, blobPath(h))
	if err != nil {
		return err
	}
	if got := digestOfString(string(data)); got != h.String() {
		return fmt.Errorf("the image is damaged: blob %s has the digest %s", h, got)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("blob %s: %w", h, err)
	}
	return nil
}

// readSmall reads a file of metadata, up to a limit, because the image decides its size.
func readSmall(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(filepath.Clean(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > maxMetadata {
		return nil, fmt.Errorf("%s: %w: metadata of more than %d bytes", name, errTooLarge, maxMetadata)
	}
	return data, nil
}
