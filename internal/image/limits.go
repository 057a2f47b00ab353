package image

import (
	"errors"
	"fmt"
	"io"
)

// limits bounds the unpacked size of one image.
type limits struct {
	bytes   int64 // of all files
	entries int   // of all layers
	ratio   int64 // unpacked bytes for each compressed byte
}

// defaultLimits are several times the needs of the largest common images, and far below the size of a usual disk.
var defaultLimits = limits{
	bytes:   32 << 30,  // images with CUDA and PyTorch reach 20 GB
	entries: 2_000_000, // a full data-science image has 300,000
	ratio:   200,       // layers of text reach 20; the maximum of deflate is 1,032
}

// ratioFree is the unpacked size from which on the ratio counts. A small file of zeros in a small layer is harmless.
const ratioFree = 64 << 20

// maxMetadata bounds manifests and configurations, which are read completely. Registries have the same limit of 4 MiB.
const maxMetadata = 4 << 20

var errTooLarge = errors.New("image is too large")

// budget counts what is unpacked from the layers of one image, against the limits.
type budget struct {
	limits
	usedBytes   int64
	usedEntries int
	source      *countingReader // the compressed bytes of the current layer
	layerBytes  int64           // unpacked from the current layer
}

// layer starts a new layer. It returns a reader that counts the compressed bytes of the layer while they are read
// from r.
func (b *budget) layer(r io.Reader) io.Reader {
	b.source, b.layerBytes = &countingReader{r: r}, 0
	return b.source
}

func (b *budget) entry() error {
	if b.usedEntries++; b.usedEntries > b.entries {
		return fmt.Errorf("%w: more than %d files", errTooLarge, b.entries)
	}
	return nil
}

// spend counts n unpacked bytes, including headers and skipped content.
func (b *budget) spend(n int64) error {
	b.usedBytes += n
	b.layerBytes += n
	if b.usedBytes > b.bytes {
		return fmt.Errorf("%w: more than %d bytes unpacked", errTooLarge, b.bytes)
	}
	if b.layerBytes > ratioFree && b.source != nil && b.layerBytes/b.ratio > b.source.n {
		return fmt.Errorf("%w: a layer unpacks to more than %d times its size", errTooLarge, b.ratio)
	}
	return nil
}

// reader returns a reader that counts the bytes read through it.
func (b *budget) reader(r io.Reader) io.Reader { return budgetReader{b, r} }

type budgetReader struct {
	b *budget
	r io.Reader
}

func (r budgetReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if over := r.b.spend(int64(n)); over != nil {
		return 0, over
	}
	return n, err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
