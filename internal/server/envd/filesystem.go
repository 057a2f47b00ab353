package envd

import (
	"context"
	"path"

	"connectrpc.com/connect"

	"cellhold"
	"cellhold/internal/server/envd/filesystempb"
)

const (
	// maxEntries is the maximum number of entries in one listing, and maxNames that of the bytes of their paths.
	maxEntries = 10_000
	maxNames   = 4 << 20
	// pageSize is the number of entries that one request to the sandbox returns.
	pageSize = 1000
)

func (s *Server) stat(ctx context.Context, c *call, in *filesystempb.StatRequest) (*filesystempb.StatResponse, error) {
	a, leave, err := c.session.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	f, err := a.StatFile(ctx, absolute(in.GetPath()), false)
	if err != nil {
		return nil, err
	}
	return &filesystempb.StatResponse{Entry: entry(f)}, nil
}

func (s *Server) makeDir(ctx context.Context, c *call, in *filesystempb.MakeDirRequest) (*filesystempb.MakeDirResponse, error) {
	a, leave, err := c.session.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	p := absolute(in.GetPath())
	f, made, err := a.MakeDir(ctx, p)
	if err != nil {
		return nil, err
	}
	if !made {
		return nil, connect.NewError(connect.CodeAlreadyExists, cellhold.Errorf(cellhold.Conflict, "directory already exists: %.400s", valid(p)))
	}
	return &filesystempb.MakeDirResponse{Entry: entry(f)}, nil
}

// move creates the parents of the destination, and replaces a file there.
func (s *Server) move(ctx context.Context, c *call, in *filesystempb.MoveRequest) (*filesystempb.MoveResponse, error) {
	a, leave, err := c.session.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	from, to := absolute(in.GetSource()), absolute(in.GetDestination())
	if _, err := a.StatFile(ctx, from, false); err != nil {
		return nil, err
	}
	if _, _, err := a.MakeDir(ctx, path.Dir(to)); err != nil {
		return nil, err
	}
	f, err := a.MoveFile(ctx, from, to, true)
	if err != nil {
		return nil, err
	}
	return &filesystempb.MoveResponse{Entry: entry(f)}, nil
}

// remove removes a path with its content. A missing path is not an error.
func (s *Server) remove(ctx context.Context, c *call, in *filesystempb.RemoveRequest) (*filesystempb.RemoveResponse, error) {
	a, leave, err := c.session.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := a.RemoveFile(ctx, absolute(in.GetPath()), true); err != nil && cellhold.KindOf(err) != cellhold.NotFound {
		return nil, err
	}
	return &filesystempb.RemoveResponse{}, nil
}

func (s *Server) listDir(ctx context.Context, c *call, in *filesystempb.ListDirRequest) (*filesystempb.ListDirResponse, error) {
	a, leave, err := c.session.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	p := absolute(in.GetPath())
	f, err := a.StatFile(ctx, p, true)
	if err != nil {
		return nil, err
	}
	if f.Type != cellhold.FileDirectory {
		return nil, cellhold.Errorf(cellhold.Invalid, "path is not a directory: %.400s", valid(p))
	}
	out := &filesystempb.ListDirResponse{}
	l := listing{page: a.ListDir, visit: func(f cellhold.FileInfo) { out.Entries = append(out.Entries, entry(f)) }}
	depth := max(int(in.GetDepth()), 1)
	if depth > 1 {
		free, err := a.Slot()
		if err != nil {
			return nil, err
		}
		defer free()
	}
	if err := l.read(ctx, p, depth); err != nil {
		return nil, err
	}
	return out, nil
}

// listing visits the content of a directory, each directory before its own content. All pages of the levels that are being
// read are in memory, so it counts the entries of a page when the page arrives.
type listing struct {
	page  func(ctx context.Context, dir, after string, limit int) (list []cellhold.FileInfo, more bool, err error)
	visit func(cellhold.FileInfo)

	entries, names int // of all pages so far
}

// read visits the content of a directory, down to a depth. It does not follow links.
func (l *listing) read(ctx context.Context, dir string, depth int) error {
	after := ""
	for {
		page, more, err := l.page(ctx, dir, after, pageSize)
		if err == nil {
			err = l.count(page)
		}
		if err != nil {
			return err
		}
		for _, f := range page {
			l.visit(f)
			if f.Type == cellhold.FileDirectory && depth > 1 {
				err := l.read(ctx, f.Exact(), depth-1)
				if kind := cellhold.KindOf(err); err != nil && kind != cellhold.NotFound && kind != cellhold.Denied {
					return err
				}
			}
		}
		if !more || len(page) == 0 {
			return nil
		}
		after = path.Base(page[len(page)-1].Exact())
	}
}

// count refuses a listing above the limits.
func (l *listing) count(page []cellhold.FileInfo) error {
	l.entries += len(page)
	for _, f := range page {
		l.names += len(f.Path) + len(f.Escaped) + len(f.Target)
	}
	if l.entries > maxEntries || l.names > maxNames {
		return cellhold.Errorf(cellhold.Exhausted, "The directory has more than %d entries, or their paths have more than %d bytes: list its parts, or use a smaller depth.", maxEntries, maxNames)
	}
	return nil
}
