// Package image stores the root file systems of sandboxes. It builds them from recipes, unpacks them from OCI and Docker
// images, and finds them by name or digest.
//
// An image is a directory <dir>/<digest>/ with image.json and rootfs/. It is created complete by one rename, and never
// changes, except that a damaged image.json is written again. Names are small files in <dir>/refs. Every change of the store needs the lock <dir>/.lock. A working directory
// that the holder of the lock finds belongs to a dead process, and is removed. Readers need no lock.
//
// Images are not trusted: layers are unpacked inside an os.Root, with limits, and without devices, set-id bits or write
// permission for others. The user, entry point and environment of an image are ignored: the agent decides these.
//
// The only package of this module that it imports is lazy.
package image

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var (
	// ErrNotFound: the store has no image with this name or digest.
	ErrNotFound = errors.New("no such image")
	// ErrInUse: a running session uses the image.
	ErrInUse = errors.New("image is in use")
	// ErrDamaged: the record of the image, or of its name, is damaged. The next build or import of the image writes it
	// again.
	ErrDamaged = errors.New("its record is damaged")
)

// Options configures a Store.
type Options struct {
	Dir    string                   // created if missing; required
	Logger *slog.Logger             // nil: no log
	InUse  func(digest string) bool // reports whether a session uses the image, called before a removal; nil means no
}

// Store is a directory of images. Its methods can be called from any goroutine and by several processes at once.
type Store struct {
	dir    string
	log    *slog.Logger
	inUse  func(string) bool
	limits limits
	make   func(context.Context, job) error // builds job.recipe into job.rootfs; tests replace it
}

// Image is one image of the store.
type Image struct {
	Digest  string    `json:"digest"`           // sha256:<hex>, the address of the image in the store
	Source  string    `json:"source"`           // the origin, for people
	Claims  string    `json:"claims,omitempty"` // the recipe that a foreign image claims; not trusted
	Created time.Time `json:"created"`          // when it was stored
	Size    int64     `json:"size"`             // bytes of all files
	Names   []string  `json:"-"`                // its names, sorted
	Rootfs  string    `json:"-"`                // host directory of its files; never written to
	Damaged bool      `json:"-"`                // its record is damaged; only Digest, Names and Rootfs are set
}

// FromRecipe begins the Source of images that this program built here from one of its recipes.
const FromRecipe = "recipe "

// Progress receives the steps of a long operation, in a few words each. It can be nil.
type Progress func(step string)

func (p Progress) say(format string, args ...any) {
	if p != nil {
		p(fmt.Sprintf(format, args...))
	}
}

// Open opens the store in a directory.
func Open(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("image store: the directory is missing")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("image store %s: %w", o.Dir, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, refsDir), 0o755); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	s := &Store{dir: dir, log: o.Logger, inUse: o.InUse, limits: defaultLimits, make: bootstrap}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.inUse == nil {
		s.inUse = func(string) bool { return false }
	}
	return s, nil
}

// Resolve finds an image by its name ("python" means "python:latest"), its digest, or at least 12 digits of its digest. If
// there is none, the error wraps ErrNotFound. If a record is damaged, the error wraps ErrDamaged, and the image has what
// is known.
func (s *Store) Resolve(ref string) (Image, error) {
	digest, err := s.digestOf(ref)
	if errors.Is(err, ErrDamaged) {
		return Image{Names: []string{withTag(ref)}, Damaged: true}, err
	}
	if err != nil {
		return Image{}, err
	}
	names, err := s.names()
	if err != nil {
		return Image{}, err
	}
	img, err := s.load(digest, names)
	if name := withTag(ref); errors.Is(err, ErrNotFound) && s.isNameOf(name, digest) {
		return Image{Digest: digest, Names: names[digest], Damaged: true}, fmt.Errorf("image %s: %w: the store has no image %s", ref, ErrDamaged, digest)
	}
	return img, err
}

// isNameOf reports whether a name belongs to a digest now. A removal deletes the names of an image before its files.
func (s *Store) isNameOf(name, digest string) bool {
	data, err := os.ReadFile(s.namePath(name))
	return err == nil && strings.TrimSpace(string(data)) == digest
}

// List returns all images, the newest first. It includes images whose records are damaged.
func (s *Store) List(ctx context.Context) ([]Image, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	digests, err := s.digests()
	if err != nil {
		return nil, err
	}
	var list []Image
	for _, digest := range digests {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		img, err := s.load(digest, names)
		if errors.Is(err, ErrNotFound) {
			continue // removed since the directory was read
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		list = append(list, img)
	}
	slices.SortFunc(list, func(a, b Image) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.Digest, b.Digest))
	})
	return list, nil
}

// Remove removes a name, and also the image if that was its last name. A digest removes the image with all its names. If a
// session needs the files, the error wraps ErrInUse.
func (s *Store) Remove(ctx context.Context, ref string) error {
	release, err := s.lock(ctx, nil)
	if err != nil {
		return err
	}
	defer release()
	img, err := s.Resolve(ref)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	drop := img.Names
	if name := withTag(ref); slices.Contains(img.Names, name) {
		drop = []string{name}
	}
	if len(drop) == len(img.Names) && s.inUse(img.Digest) {
		return fmt.Errorf("remove image %s: %w", ref, ErrInUse)
	}
	for _, name := range drop {
		if err := os.Remove(s.namePath(name)); err != nil {
			return fmt.Errorf("remove image %s: %w", ref, err)
		}
	}
	if len(drop) < len(img.Names) || img.Rootfs == "" { // a damaged name has no files
		return nil
	}
	return s.discard(img.Digest)
}

// discard removes an image's files. The rename hides the image at once. After an interruption, sweep removes the
// remaining files.
func (s *Store) discard(digest string) error {
	dead, err := os.MkdirTemp(s.dir, workPrefix)
	if err != nil {
		return fmt.Errorf("remove image %s: %w", digest, err)
	}
	if err := os.Rename(s.imagePath(digest), filepath.Join(dead, "image")); err != nil {
		return fmt.Errorf("remove image %s: %w", digest, err)
	}
	s.log.Info("image removed", "image", digest)
	return os.RemoveAll(dead)
}

// load reads the description of an image. If the description is damaged, the error wraps ErrDamaged, and the image has
// what is known.
func (s *Store) load(digest string, names map[string][]string) (Image, error) {
	dir := s.imagePath(digest)
	known := Image{Digest: digest, Names: names[digest], Rootfs: filepath.Join(dir, rootfsDir), Damaged: true}
	data, err := os.ReadFile(filepath.Join(dir, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(dir); err == nil { // an image appears and disappears by one rename
			return known, fmt.Errorf("image %s: %w: %s is missing", digest, ErrDamaged, metaFile)
		}
		return Image{}, fmt.Errorf("%s: %w", digest, ErrNotFound)
	}
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", digest, err)
	}
	var img Image
	if err := json.Unmarshal(data, &img); err != nil {
		return known, fmt.Errorf("image %s: %w: %s: %w", digest, ErrDamaged, metaFile, err)
	}
	if img.Digest != digest {
		return known, fmt.Errorf("image %s: %w: %s has a different digest, %s", digest, ErrDamaged, metaFile, img.Digest)
	}
	img.Rootfs, img.Names = known.Rootfs, known.Names
	return img, nil
}
