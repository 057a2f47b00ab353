package image

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cellhold/internal/lazy"
)

const (
	refsDir   = "refs"
	metaFile  = "image.json"
	rootfsDir = "rootfs"
	algorithm = "sha256:"
	// minDigits is the minimum number of digits of an abbreviated digest. `image ls` prints this many digits. Names that
	// consist of 12 hexadecimal digits are unlikely.
	minDigits = 12
	// maxName bounds the characters of a name, because a file name has at most 255 bytes. If every second character needs
	// escaping, the escaped name has 240 bytes.
	maxName = 120
)

var (
	hexDigits = lazy.Regexp(`^[0-9a-f]+$`)
	// namePattern matches an image name: registry, path and tag, without a digest.
	namePattern = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._/-]*(:[0-9]+/[A-Za-z0-9._/-]+)?(:[A-Za-z0-9_][A-Za-z0-9._-]*)?$`)
)

// imagePath returns the directory of an image.
func (s *Store) imagePath(digest string) string {
	return filepath.Join(s.dir, strings.TrimPrefix(digest, algorithm))
}

// namePath returns the path of the file that stores the digest of a name. Slashes are escaped, so the file is always in the
// refs directory.
func (s *Store) namePath(name string) string {
	return filepath.Join(s.dir, refsDir, url.PathEscape(name))
}

// withTag returns a name with a tag. The default tag is latest. A digest after @ becomes a tag, because a name has no digest.
func withTag(name string) string {
	name = strings.Replace(name, "@sha256:", ":sha256-", 1)
	if last := name[strings.LastIndex(name, "/")+1:]; strings.Contains(last, ":") {
		return name
	}
	return name + ":latest"
}

// checkName returns an error if an image name is invalid.
func checkName(name string) error {
	if len(name) > maxName || !namePattern().MatchString(name) {
		return fmt.Errorf("invalid image name %q: use letters, digits and . _ - /, an optional :tag, and at most %d characters", name, maxName)
	}
	return nil
}

// digestOf returns the digest of an image in the store. ref is a name, a digest, or the first digits of a digest.
func (s *Store) digestOf(ref string) (string, error) {
	if digits := strings.TrimPrefix(ref, algorithm); hexDigits().MatchString(digits) && len(digits) >= minDigits {
		found, err := s.digestWithPrefix(digits)
		if found != "" || err != nil || digits != ref {
			return found, err
		}
	}
	name := withTag(ref)
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	data, err := os.ReadFile(s.namePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", ref, ErrNotFound)
	}
	if err != nil {
		return "", fmt.Errorf("image %s: %w", ref, err)
	}
	digest := strings.TrimSpace(string(data))
	if !isDigest(digest) {
		return "", fmt.Errorf("image %s: %w: the store has no valid digest for this name", ref, ErrDamaged)
	}
	return digest, nil
}

// digestWithPrefix returns the only digest in the store that begins with these digits. Several matches are an error.
func (s *Store) digestWithPrefix(digits string) (string, error) {
	digests, err := s.digests()
	if err != nil {
		return "", err
	}
	digests = slices.DeleteFunc(digests, func(d string) bool {
		return !strings.HasPrefix(d, algorithm+digits)
	})
	switch len(digests) {
	case 0:
		return "", fmt.Errorf("%s: %w", digits, ErrNotFound)
	case 1:
		return digests[0], nil
	}
	return "", fmt.Errorf("%s matches %d images; give more digits", digits, len(digests))
}

// isDigest reports whether d is a complete digest.
func isDigest(d string) bool {
	digits, ok := strings.CutPrefix(d, algorithm)
	return ok && len(digits) == 64 && hexDigits().MatchString(digits)
}

// digests returns the digests of all images, from the names of their directories.
func (s *Store) digests() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	var digests []string
	for _, e := range entries {
		if d := algorithm + e.Name(); isDigest(d) && e.IsDir() {
			digests = append(digests, d)
		}
	}
	return digests, nil
}

// names returns the names of all images, by digest.
func (s *Store) names() (map[string][]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, refsDir))
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	names := map[string][]string{}
	for _, e := range entries {
		name, err := url.PathUnescape(e.Name())
		if err != nil || strings.HasPrefix(name, ".") {
			continue // not a name, or setName has not renamed it yet
		}
		data, err := os.ReadFile(filepath.Join(s.dir, refsDir, e.Name()))
		if err != nil {
			continue // removed since the directory was read
		}
		digest := strings.TrimSpace(string(data))
		names[digest] = append(names[digest], name)
	}
	return names, nil
}

// setName assigns a name to an image. The caller must hold the lock.
func (s *Store) setName(name, digest string) error {
	tmp := filepath.Join(s.dir, refsDir, ".new")
	if err := os.WriteFile(tmp, []byte(digest+"\n"), 0o644); err != nil {
		return fmt.Errorf("set the image name %s: %w", name, err)
	}
	if err := os.Rename(tmp, s.namePath(name)); err != nil {
		return fmt.Errorf("set the image name %s: %w", name, err)
	}
	return syncDir(filepath.Join(s.dir, refsDir))
}
