package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// builderVersion is part of the address of every built image. Increase it when the same recipe builds a different image.
const builderVersion = 1

// BuildOptions are the options of a build that do not change its result.
type BuildOptions struct {
	Progress Progress
	Env      []string // the environment with proxies, certificates and pip's settings; usually os.Environ()
}

// recipe is a directory of files. The stock recipes are in images/ of this repository.
//
//	recipe.json   the name of the image and the Debian suite
//	packages.txt  Debian packages, one on each line
//	build.sh      runs as root in the new system, with network access
//	check.py      runs as the user in the finished image, without network access; must succeed
//
// All other files are for build.sh.
type recipe struct {
	Name  string `json:"name"`
	Suite string `json:"suite"`

	files    fs.FS
	packages []string
}

// job is one running build.
type job struct {
	recipe   recipe
	work     string // working directory, removed at the end
	rootfs   string // directory for the result
	log      string // path of the file with the output of the tools
	env      []string
	limits   limits
	progress Progress
}

// Build builds the image of a recipe, with the recipe's name. The image's address is derived from the recipe's files, the
// version of this builder and the architecture. If the image exists, nothing is built. The current content of Debian's mirror
// is not part of the address: after a removal, a new build has newer packages and the same address.
func (s *Store) Build(ctx context.Context, files fs.FS, o BuildOptions) (Image, error) {
	r, err := readRecipe(files)
	if err != nil {
		return Image{}, err
	}
	digest, err := recipeDigest(files)
	if err != nil {
		return Image{}, err
	}
	name := withTag(r.Name)
	if img, err := s.Resolve(name); err == nil && img.Digest == digest {
		o.Progress.say("%s is up to date", name)
		return img, nil
	}
	release, err := s.lock(ctx, o.Progress)
	if err != nil {
		return Image{}, fmt.Errorf("build image %s: %w", r.Name, err)
	}
	defer release()
	if err := s.buildLocked(ctx, r, digest, o); err != nil {
		return Image{}, fmt.Errorf("build image %s: %w", r.Name, err)
	}
	if err := s.setName(name, digest); err != nil {
		return Image{}, err
	}
	return s.Resolve(name)
}

func (s *Store) buildLocked(ctx context.Context, r recipe, digest string, o BuildOptions) error {
	_, err := s.load(digest, nil)
	if err == nil {
		o.Progress.say("%s is up to date", r.Name) // built during the wait for the lock, or with another name
		return nil
	}
	if errors.Is(err, ErrDamaged) {
		o.Progress.say("the record of %s is damaged; writing it again", r.Name)
		_, err = s.describe(s.imagePath(digest), Image{Digest: digest, Source: FromRecipe + r.Name})
		return err
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	work, remove, err := s.workDir(ctx)
	if err != nil {
		return err
	}
	defer remove(ctx)
	logs := filepath.Join(s.dir, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	j := job{
		recipe: r, work: work, env: o.Env, limits: s.limits, progress: o.Progress,
		rootfs: filepath.Join(work, imageDir, rootfsDir),
		log:    filepath.Join(logs, "build-"+r.Name+".log"),
	}
	if err := s.make(ctx, j); err != nil {
		return err
	}
	o.Progress.say("writing to disk")
	_, err = s.commit(work, Image{Digest: digest, Source: FromRecipe + r.Name})
	return err
}

func readRecipe(files fs.FS) (recipe, error) {
	r := recipe{files: files}
	data, err := fs.ReadFile(files, "recipe.json")
	if err != nil {
		return r, fmt.Errorf("read recipe: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("read recipe.json: %w", err)
	}
	if err := checkName(r.Name); err != nil || strings.ContainsAny(r.Name, "/:") {
		return r, fmt.Errorf("read recipe.json: bad name %q", r.Name)
	}
	if err := checkName(r.Suite); err != nil {
		return r, fmt.Errorf("read recipe.json: bad suite %q", r.Suite)
	}
	list, err := fs.ReadFile(files, "packages.txt")
	if err != nil {
		return r, fmt.Errorf("read recipe: %w", err)
	}
	for line := range bytes.Lines(list) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		r.packages = append(r.packages, strings.Fields(string(line))...)
	}
	return r, nil
}

// recipeDigest returns the address of the image that a recipe builds.
func recipeDigest(files fs.FS) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "built image, version %d, %s\n", builderVersion, runtime.GOARCH)
	// WalkDir uses lexical order, so the sum does not depend on the file system.
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, path)
		fmt.Fprintf(sum, "%q %x\n", path, sha256.Sum256(content))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read recipe: %w", err)
	}
	return algorithm + hex.EncodeToString(sum.Sum(nil)), nil
}
