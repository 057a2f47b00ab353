package files

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/guestapi"
)

const (
	// maxDirectory bounds the bytes that package zip reads for the central directory of a zip: 100 bytes for
	// each allowed entry. The number of entries is known only after this read.
	maxDirectory = 100 * guestapi.MaxArchiveEntries
	// maxLinkTarget is the limit of Linux for the target of a symbolic link.
	maxLinkTarget = guestapi.MaxFilePath
	// maxTail bounds the padding after the end of a tar.
	maxTail = 1 << 20
)

// unpack puts the content of an archive into a directory. It unpacks into a temporary directory first, and
// moves the content when all of it is valid.
func (h *handler) unpack(w http.ResponseWriter, r *http.Request) error {
	p, err := h.path(r, "path")
	if err != nil {
		return err
	}
	limit, err := number(r, "limit", math.MaxInt64)
	if err != nil {
		return err
	}
	undo, err := makeDirs(p)
	if err != nil {
		return err
	}
	done, err := unpackInto(r.Context(), p, r.Body, limit)
	if err != nil {
		undo()
		return err
	}
	return answer(w, http.StatusOK, done)
}

func unpackInto(ctx context.Context, p string, body io.Reader, limit int64) (done guestapi.Unpacked, err error) {
	root, err := os.OpenRoot(p)
	if err != nil {
		return done, err
	}
	defer root.Close()
	name := tempPrefix + rand.Text()
	if err := root.Mkdir(name, 0o700); err != nil {
		return done, err
	}
	defer root.RemoveAll(name)
	inside, err := root.OpenRoot(name)
	if err != nil {
		return done, err
	}
	defer inside.Close()
	in := &counter{Reader: body}
	s := &stage{root: inside, in: in, limit: limit, names: make(map[string]bool)}
	if err := s.archive(ctx, in); err != nil {
		return done, badArchive(err)
	}
	if err := s.finish(); err != nil {
		return done, err
	}
	if err := publish(ctx, root, name); err != nil {
		return done, err
	}
	return guestapi.Unpacked{Entries: len(s.names), Bytes: s.out}, nil
}

// badArchive returns an Invalid error if err says that the archive is damaged or unsupported. It returns other
// errors unchanged.
func badArchive(err error) error {
	switch {
	case errors.Is(err, tar.ErrHeader), errors.Is(err, zip.ErrFormat), errors.Is(err, gzip.ErrHeader),
		errors.Is(err, gzip.ErrChecksum), errors.Is(err, zip.ErrChecksum), errors.Is(err, tar.ErrFieldTooLong), errors.Is(err, errDirectory):
		return cellhold.Wrap(cellhold.Invalid, err, "The archive cannot be read. Supported formats are tar, tgz and zip.")
	case errors.Is(err, zip.ErrAlgorithm):
		return cellhold.Wrap(cellhold.Invalid, err, "The zip uses an unsupported compression method; use deflate.")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return cellhold.Wrap(cellhold.Invalid, err, "The archive ends early, or its sizes are wrong.")
	}
	if name := err.Error(); strings.HasPrefix(name, "flate: corrupt") {
		return cellhold.Wrap(cellhold.Invalid, err, "The archive is damaged.")
	}
	return err
}

// archive unpacks an archive of any supported format.
func (s *stage) archive(ctx context.Context, body io.Reader) error {
	in := bufio.NewReaderSize(body, 64<<10)
	magic, _ := in.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		plain, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		return s.tar(ctx, plain)
	case bytes.HasPrefix(magic, []byte("PK")):
		return s.zip(ctx, in)
	}
	return s.tar(ctx, in)
}

func (s *stage) tar(ctx context.Context, packed io.Reader) error {
	in := &ending{Reader: packed}
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.tarEntry(h, r); err != nil {
			return err
		}
	}
	if s.in.n == 0 {
		return tar.ErrHeader
	}
	if in.zeros < tarBlock {
		return io.ErrUnexpectedEOF // package tar accepts an archive that ends between two files
	}
	_, err := io.CopyN(io.Discard, in, maxTail)
	if err == io.EOF {
		return nil
	}
	return err
}

// tarBlock is the block size of a tar, which ends in blocks of zeros.
const tarBlock = 512

// ending counts the zeros at the end of the bytes that were read.
type ending struct {
	io.Reader
	zeros int
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if rest := len(bytes.TrimRight(p[:n], "\x00")); rest > 0 {
		e.zeros = n - rest
	} else {
		e.zeros += n
	}
	return n, err
}

func (s *stage) tarEntry(h *tar.Header, r io.Reader) error {
	mode := fs.FileMode(h.Mode & 0o777)
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return s.count()
	case tar.TypeDir:
		return s.directory(h.Name, mode)
	case tar.TypeSymlink:
		return s.link(h.Name, h.Linkname)
	case tar.TypeReg, tar.TypeGNUSparse:
		if h.Mode&0o6000 != 0 {
			return errSetuid
		}
		return s.file(h.Name, mode, h.ModTime, r)
	case tar.TypeLink:
		return cellhold.Errorf(cellhold.Invalid, "The archive has a hard link; pack the file itself instead (tar --hard-dereference).")
	}
	return cellhold.Errorf(cellhold.Invalid, "The archive has an entry that is not a file, a directory or a symbolic link, such as a device or a pipe.")
}

var errSetuid = cellhold.Errorf(cellhold.Invalid, "The archive has a file with a setuid or setgid bit.")

// zip unpacks a zip archive. Package zip needs random access, so the archive is stored on disk first, in a file
// without a name.
func (s *stage) zip(ctx context.Context, in io.Reader) error {
	const name = tempPrefix + "zip"
	f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.root.Remove(name); err != nil {
		return err
	}
	size, err := io.CopyBuffer(writerOnly{f}, io.LimitReader(in, s.limit), make([]byte, copyBuffer))
	if err != nil {
		return err
	}
	if more, _ := in.Read(make([]byte, 1)); more > 0 {
		return s.tooLarge()
	}
	at := &budget{ReaderAt: f, left: maxDirectory}
	z, err := zip.NewReader(at, size)
	if err != nil {
		return err
	}
	at.left = math.MaxInt64
	if err := checkOverlap(z.File, size); err != nil {
		return err
	}
	for _, e := range z.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.zipEntry(e); err != nil {
			return err
		}
	}
	return nil
}

// budget bounds the bytes that can be read, because package zip reads the whole central directory at once.
type budget struct {
	io.ReaderAt
	left int64
}

var errDirectory = errors.New("the central directory of the zip is too long")

func (b *budget) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errDirectory
	}
	return b.ReaderAt.ReadAt(p, off)
}

// checkOverlap fails for entries that share bytes: with them a small file could expand to any size.
func checkOverlap(entries []*zip.File, size int64) error {
	if len(entries) > guestapi.MaxArchiveEntries {
		return errTooMany
	}
	type span struct{ from, to int64 }
	spans := make([]span, 0, len(entries))
	for _, e := range entries {
		from, err := e.DataOffset()
		if err != nil {
			return err
		}
		if e.CompressedSize64 > uint64(size) {
			return zip.ErrFormat
		}
		spans = append(spans, span{from, from + int64(e.CompressedSize64)})
	}
	slices.SortFunc(spans, func(a, b span) int {
		if a.from != b.from {
			return int(min(max(a.from-b.from, -1), 1))
		}
		return int(min(max(a.to-b.to, -1), 1))
	})
	for i, s := range spans {
		if s.to > size || i > 0 && s.from < spans[i-1].to {
			return cellhold.Errorf(cellhold.Invalid, "Entries of the zip overlap. It is refused as a possible zip bomb.")
		}
	}
	return nil
}

func (s *stage) zipEntry(e *zip.File) error {
	mode := e.Mode()
	switch {
	case e.Flags&1 != 0:
		return cellhold.Errorf(cellhold.Invalid, "The zip is encrypted.")
	case mode.IsDir() || strings.HasSuffix(e.Name, "/"):
		return s.directory(e.Name, mode.Perm())
	case mode&(fs.ModeSetuid|fs.ModeSetgid) != 0:
		return errSetuid
	case !mode.IsRegular() && mode&fs.ModeSymlink == 0:
		return cellhold.Errorf(cellhold.Invalid, "The archive has an entry that is not a file, a directory or a symbolic link, such as a device or a pipe.")
	}
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if mode&fs.ModeSymlink != 0 {
		target, err := io.ReadAll(io.LimitReader(r, maxLinkTarget+1))
		if err != nil {
			return err
		}
		return s.link(e.Name, string(target))
	}
	return s.file(e.Name, mode.Perm(), e.Modified, r)
}

// publish moves the unpacked entries to their place. Files that exist are replaced, and directories that
// exist are merged. publish plans all moves first: if one has a conflict, no entry is moved.
func publish(ctx context.Context, root *os.Root, staged string) error {
	moves, err := planMoves(ctx, root, staged, ".")
	if err != nil {
		return err
	}
	for _, to := range moves {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := root.Rename(path.Join(staged, to), to); err != nil {
			return err
		}
	}
	return nil
}

// planMoves returns the paths of the staged entries that can be moved as they are: files, links, and
// directories that do not exist yet. It fails where a file would replace a directory, or a directory a file.
func planMoves(ctx context.Context, root *os.Root, staged, dir string) (moves []string, err error) {
	entries, err := fs.ReadDir(root.FS(), path.Join(staged, dir))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		to := path.Join(dir, e.Name())
		existing, err := root.Lstat(to)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			moves = append(moves, to)
		case err != nil:
			return nil, err
		case existing.IsDir() && e.IsDir():
			below, err := planMoves(ctx, root, staged, to)
			if err != nil {
				return nil, err
			}
			moves = append(moves, below...)
		case existing.IsDir() || e.IsDir():
			return nil, cellhold.Errorf(cellhold.Conflict, "The archive has a directory at the path of a file, or a file at the path of a directory.")
		default:
			moves = append(moves, to)
		}
	}
	return moves, nil
}
