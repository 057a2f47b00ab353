package script

import (
	"archive/tar"
	"cellhold"
	"cellhold/client"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Input is one file or folder of this machine that the script gets.
type Input struct {
	from string      // path on this machine
	at   string      // path in the sandbox, relative to the working directory, with slashes
	info fs.FileInfo // of from, with links followed
}

// FindInputs finds the files of --files. A relative path starts at the current directory or, if nothing is there,
// at the script's folder. A path below the script's folder keeps its relative place in the working directory. Any
// other file or folder is copied directly into the working directory. From a folder that contains the script's
// folder, only the contents are copied.
func FindInputs(paths []string, folder string) ([]Input, error) {
	base, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	var all []Input
	for _, p := range paths {
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(p) {
			if next, e := os.Stat(filepath.Join(base, p)); e == nil {
				p, info, err = filepath.Join(base, p), next, nil
			}
		}
		if err != nil {
			return nil, fmt.Errorf("--files: %w", err)
		}
		if !info.IsDir() && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("--files: %s must be a regular file or a folder", p)
		}
		full, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		at, err := filepath.Rel(base, full)
		if err != nil {
			return nil, err
		}
		if !filepath.IsLocal(at) { // not below the script's folder
			at = filepath.Base(full)
			if strings.HasPrefix(base+"/", strings.TrimSuffix(full, "/")+"/") {
				at = "."
			}
		}
		all = append(all, Input{full, filepath.ToSlash(at), info})
	}
	return all, nil
}

// send writes files into the working directory of a session, in one archive. left holds the paths that were left out:
// inside folders, these are links and other files that are not regular.
func send(ctx context.Context, c *client.Client, id cellhold.SessionID, all []Input) (left []string, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() { // ends when the archive is written, or when its reader is closed
		p := &packer{to: tar.NewWriter(w), seen: map[string]bool{}}
		err := p.all(all)
		left = p.left
		w.CloseWithError(err)
		packed <- err
	}()
	err = c.UnpackDir(ctx, id, workspace, r)
	r.CloseWithError(io.ErrClosedPipe)
	if local := <-packed; local != nil && !errors.Is(local, io.ErrClosedPipe) {
		return left, fmt.Errorf("--files: %w", local)
	}
	return left, err
}

// packer writes files into an archive.
type packer struct {
	to   *tar.Writer
	seen map[string]bool // --files can name a file twice; an archive must not
	left []string
}

// again reports whether a path is in the archive already, and records it.
func (p *packer) again(at string) bool {
	if p.seen[at] {
		return true
	}
	p.seen[at] = true
	return false
}

func (p *packer) all(all []Input) error {
	for _, g := range all {
		if err := p.add(g); err != nil {
			return err
		}
	}
	return p.to.Close()
}

func (p *packer) add(g Input) error {
	if err := p.above(g.at); err != nil {
		return err
	}
	if !g.info.IsDir() {
		return p.file(g.from, g.at, g.info)
	}
	return filepath.WalkDir(g.from, func(from string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(g.from, from)
		if err != nil {
			return err
		}
		at := path.Join(g.at, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			return p.folder(at)
		case !d.Type().IsRegular():
			p.left = append(p.left, from)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return p.file(from, at, info)
	})
}

// above adds the parent folders of a path.
func (p *packer) above(at string) error {
	dir := path.Dir(at)
	if dir == "." {
		return nil
	}
	if err := p.above(dir); err != nil {
		return err
	}
	return p.folder(dir)
}

func (p *packer) folder(at string) error {
	if at == "." || p.again(at) {
		return nil
	}
	return p.to.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: at + "/", Mode: 0o755})
}

func (p *packer) file(from, at string, info fs.FileInfo) error {
	if p.again(at) {
		return nil
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	h := &tar.Header{Typeflag: tar.TypeReg, Name: at, Size: info.Size(), ModTime: info.ModTime(), Mode: int64(info.Mode().Perm())}
	if err := p.to.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(p.to, f, info.Size()); err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	return nil
}
