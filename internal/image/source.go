package image

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// unpackVersion is part of the address of every unpacked image. Increase it when the same layers unpack to different files,
// so that old directories are not reused.
const unpackVersion = 1

// source is a foreign image in any location.
type source struct {
	digest string // digest of its manifest: sha256:<hex>
	where  string // the location, for people
	recipe string // the claimed recipe; empty if none
	layers []blob // the lowest first
}

// blob is one stored layer, compressed or not.
type blob struct {
	open   func() (io.ReadCloser, error)
	diffID string // sha256:<hex> of the uncompressed layer, from the image's configuration
}

// address returns the digest under which the store keeps the image.
func (src source) address() string {
	return digestOfString(fmt.Sprintf("unpacked image, version %d, %s", unpackVersion, src.digest))
}

func digestOfString(s string) string {
	sum := sha256.Sum256([]byte(s))
	return algorithm + hex.EncodeToString(sum[:])
}

// add unpacks a foreign image into the store, unless it exists, and names it. The caller must hold the lock.
func (s *Store) add(ctx context.Context, src source, name string, progress Progress) (Image, error) {
	digest := src.address()
	if _, err := s.load(digest, nil); err == nil {
		progress.say("up to date")
	} else if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDamaged) {
		return Image{}, err
	} else if err := s.unpack(ctx, src, digest, progress); err != nil {
		return Image{}, err
	}
	if err := s.setName(name, digest); err != nil {
		return Image{}, err
	}
	return s.Resolve(digest)
}

func (s *Store) unpack(ctx context.Context, src source, digest string, progress Progress) error {
	work, remove, err := s.workDir(ctx)
	if err != nil {
		return err
	}
	defer remove(ctx)
	u, err := newUnpacker(filepath.Join(work, imageDir, rootfsDir), s.limits)
	if err != nil {
		return err
	}
	defer u.Close()
	for i, b := range src.layers {
		progress.say("unpacking layer %d of %d", i+1, len(src.layers))
		if err := u.blob(ctx, b); err != nil {
			return fmt.Errorf("layer %d of %s: %w", i+1, src.where, err)
		}
	}
	if err := u.mountPoints(); err != nil {
		return err
	}
	_, err = s.commit(work, Image{Digest: digest, Source: src.from(), Claims: src.recipe})
	return err
}

// blob unpacks one stored layer and checks its content against the configuration.
func (u *unpacker) blob(ctx context.Context, b blob) error {
	stored, err := b.open()
	if err != nil {
		return err
	}
	defer stored.Close()
	plain, err := decompress(u.budget.layer(stored))
	if err != nil {
		return err
	}
	defer plain.Close()
	hash := sha256.New()
	content := io.TeeReader(plain, hash)
	if err := u.layer(ctx, content); err != nil {
		return err
	}
	// The archive can end before the padding of the layer.
	if _, err := io.Copy(io.Discard, u.budget.reader(content)); err != nil {
		return fmt.Errorf("read layer: %w", err)
	}
	if got := algorithm + hex.EncodeToString(hash.Sum(nil)); got != b.diffID {
		return fmt.Errorf("the image is damaged: the content has the digest %s, want %s", got, b.diffID)
	}
	return nil
}

// zstdWindow bounds the memory for a zstd layer. It is the maximum that `zstd` uses by default.
const zstdWindow = 128 << 20

// decompress detects the compression by the first bytes, because the media types of images are often wrong.
func decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 1<<16)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// importedName returns the name of an imported image.
func importedName(chosen, suggested, path string) (string, error) {
	for _, name := range []string{chosen, suggested} {
		if name != "" {
			return withTag(name), checkName(withTag(name))
		}
	}
	base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".gz"), ".tar")
	return withTag(base), checkName(withTag(base))
}
