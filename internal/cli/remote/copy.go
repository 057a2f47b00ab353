package remote

import (
	"archive/tar"
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"cellhold/internal/lazy"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// CopyCmd copies files between this machine and a session.
type CopyCmd struct {
	Src      string `arg:"" help:"Source: a path, or SESSION:PATH. Add /. to a directory to copy its contents only." name:"src" predictor:"place"`
	Dst      string `arg:"" help:"Destination: a path, or SESSION:PATH. Relative paths of a session start at /workspace." name:"dst" predictor:"place"`
	printing `embed:""`
}

// remotePath matches SESSION:PATH.
var remotePath = lazy.Regexp(`(?s)^(s[a-z2-7]{16}):(.*)$`)

// Run copies a file or a directory.
func (c *CopyCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	remote, out, err := c.open(all, t)
	if err != nil {
		return err
	}
	from, to := remotePath().FindStringSubmatch(c.Src), remotePath().FindStringSubmatch(c.Dst)
	switch {
	case from == nil && to != nil:
		err = upload(ctx, remote, cellhold.SessionID(to[1]), c.Src, orHere(to[2]))
	case from != nil && to == nil:
		err = download(ctx, remote, cellhold.SessionID(from[1]), orHere(from[2]), c.Dst, t)
	default:
		err = console.Usage(errors.New("cp needs one path on this machine and one path in a session, as SESSION:PATH"))
	}
	if err != nil {
		return err
	}
	return out.Done(copied{c.Src, c.Dst}) // as with cp
}

// copied is the JSON of CopyCmd.
type copied struct {
	Src string `json:"src"`
	Dst string `json:"dst"`
}

func orHere(p string) string {
	if p == "" {
		return "."
	}
	return p
}

// upload copies a file or directory to a session. If the destination is a directory, the copy goes into it.
func upload(ctx context.Context, c *client.Client, id cellhold.SessionID, src, dst string) error {
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	content := strings.HasSuffix(src, "/.") || src == "." || src == ".."
	if there, err := c.StatFile(ctx, id, dst+"/."); err == nil && there.Type == cellhold.FileDirectory {
		if !info.IsDir() || !content {
			dst = path.Join(dst, filepath.Base(filepath.Clean(src)))
		}
	} else if strings.HasSuffix(dst, "/") && !info.IsDir() {
		dst = path.Join(dst, filepath.Base(src))
	}
	if !info.IsDir() {
		f, err := os.Open(src)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = c.WriteFile(ctx, id, dst, f, uint32(info.Mode().Perm()))
		return err
	}
	root, err := os.OpenRoot(src)
	if err != nil {
		return err
	}
	defer root.Close()
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		archive := tar.NewWriter(w)
		err := errors.Join(archive.AddFS(root.FS()), archive.Close())
		w.CloseWithError(err)
		packed <- err
	}()
	err = c.UnpackDir(ctx, id, dst, r)
	r.CloseWithError(io.ErrClosedPipe) // stops the packing if the server refused the archive
	if local := <-packed; local != nil && !errors.Is(local, io.ErrClosedPipe) {
		return fmt.Errorf("read %s: %w", src, local)
	}
	return err
}

// download copies a file or directory from a session. If the destination is a directory, the copy goes into it. The
// session chose the names of the files in a directory. No such name leads out of the destination, even through a
// symbolic link.
func download(ctx context.Context, c *client.Client, id cellhold.SessionID, src, dst string, t *console.Terminal) error {
	// With "/." the path means the target of a link. A file has no such path.
	info, err := c.StatFile(ctx, id, src+"/.")
	isDir := err == nil && info.Type == cellhold.FileDirectory
	base := path.Base(path.Join("/workspace", src))
	if there, err := os.Stat(dst); err == nil && there.IsDir() && (!isDir || !strings.HasSuffix(src, "/.") && src != ".") {
		dst = filepath.Join(dst, base)
	}
	if isDir {
		return downloadDir(ctx, c, id, src, dst, t)
	}
	r, err := c.ReadFile(ctx, id, src)
	if err != nil {
		return err
	}
	defer r.Close()
	return saveFile(dst, func(w io.Writer) error { _, err := io.Copy(w, r); return err })
}

// unless calls do if err is nil.
func unless(err error, do func() error) error {
	if err != nil {
		return nil
	}
	return do()
}

func downloadDir(ctx context.Context, c *client.Client, id cellhold.SessionID, src, dst string, t *console.Terminal) error {
	r, err := c.PackDir(ctx, id, src, "tar")
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dst)
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the archive from the session is incomplete: %w", err)
		}
		if err := place(root, h, archive); err != nil {
			if !errors.Is(err, errSkipped) {
				return err
			}
			fmt.Fprintf(t.Err, "cellhold: skipped %s: it points out of the directory or is not a regular file\n", console.Printable(h.Name))
		}
	}
}

var errSkipped = errors.New("skipped")

// place extracts one entry of an untrusted archive below root.
func place(root *os.Root, h *tar.Header, r io.Reader) error {
	name := path.Clean(strings.TrimSuffix(h.Name, "/"))
	if !filepath.IsLocal(name) || strings.ContainsRune(name, 0) {
		return errSkipped
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		if !filepath.IsLocal(path.Join(path.Dir(name), h.Linkname)) || path.IsAbs(h.Linkname) {
			return errSkipped
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Chmod(fs.FileMode(h.Mode)&0o755|0o600), f.Close())
	}
	return errSkipped
}
