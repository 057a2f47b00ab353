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
	// shortest is the minimum number of digits of an abbreviated digest: the number that `image ls` prints. With 48 bits no
	// name looks like a digest by accident.
	shortest = 12
	// longestName keeps an escaped name below the 255 bytes of a file name, even if every other character needs escaping.
	longestName = 120
)

var (
	hexDigits = lazy.Regexp(`^[0-9a-f]+$`)
	// goodName is the form of an image reference: host, path and tag, without a digest.
	goodName = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._/-]*(:[0-9]+/[A-Za-z0-9._/-]+)?(:[A-Za-z0-9_][A-Za-z0-9._-]*)?$`)
)

func (s *Store) path(digest string) string {
	return filepath.Join(s.dir, strings.TrimPrefix(digest, algorithm))
}

// refPath returns the file of a name. Slashes are escaped, so the file is always in the refs directory.
func (s *Store) refPath(name string) string {
	return filepath.Join(s.dir, refsDir, url.PathEscape(name))
}

// withTag adds the default tag if there is none. The digest of a reference becomes a tag, because the result is a name.
func withTag(name string) string {
	name = strings.Replace(name, "@sha256:", ":sha256-", 1)
	if last := name[strings.LastIndex(name, "/")+1:]; strings.Contains(last, ":") {
		return name
	}
	return name + ":latest"
}

func checkName(name string) error {
	if len(name) > longestName || !goodName().MatchString(name) {
		return fmt.Errorf("invalid image name %q: use letters, digits and . _ - /, at most %d characters", name, longestName)
	}
	return nil
}

// digestOf converts a reference to the digest of an image in the store.
func (s *Store) digestOf(ref string) (string, error) {
	if digits := strings.TrimPrefix(ref, algorithm); hexDigits().MatchString(digits) && len(digits) >= shortest {
		found, err := s.digestStarting(digits)
		if found != "" || err != nil || digits != ref {
			return found, err
		}
	}
	name := withTag(ref)
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	data, err := os.ReadFile(s.refPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", ref, ErrNotFound)
	}
	if err != nil {
		return "", fmt.Errorf("image %s: %w", ref, err)
	}
	digest := strings.TrimSpace(string(data))
	if !isDigest(digest) {
		return "", fmt.Errorf("image %s: the file of its name contains no digest", ref)
	}
	return digest, nil
}

// digestStarting returns the digest of the only image that begins with these digits.
func (s *Store) digestStarting(digits string) (string, error) {
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

// names returns the names of each digest.
func (s *Store) names() (map[string][]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, refsDir))
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	names := map[string][]string{}
	for _, e := range entries {
		name, err := url.PathUnescape(e.Name())
		if err != nil || strings.HasPrefix(name, ".") {
			continue // not a name, or incomplete
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
		return fmt.Errorf("name image %s: %w", name, err)
	}
	if err := os.Rename(tmp, s.refPath(name)); err != nil {
		return fmt.Errorf("name image %s: %w", name, err)
	}
	return syncDir(filepath.Join(s.dir, refsDir))
}
