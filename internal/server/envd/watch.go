package envd

import (
	"context"
	"hash/maphash"
	"strings"

	"connectrpc.com/connect"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/server/envd/filesystempb"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// watch is one watch of a directory. It knows which files exist, because E2B distinguishes a new file from a file that
// is replaced.
type watch struct {
	dir       string
	recursive bool
	seed      maphash.Seed
	// known has the hashes of paths, because untrusted code chooses their length. It is nil if there are too many.
	known map[uint64]bool
}

// hash returns the hash of a path. Code in the sandbox does not know the seed, so it cannot choose paths with one hash.
func (x *watch) hash(path string) uint64 { return maphash.String(x.seed, path) }

// open finds the files that exist. The caller must then use events.
func (x *watch) open(ctx context.Context, a *attachment.Attachment) error {
	f, err := a.StatFile(ctx, x.dir, true)
	if err != nil {
		return err
	}
	if f.Type != cellhold.FileDirectory {
		return cellhold.Errorf(cellhold.Invalid, "path is not a directory: %.400s", valid(x.dir))
	}
	free, err := a.Slot()
	if err != nil {
		return err
	}
	defer free()
	depth := 1
	if x.recursive {
		depth = maxEntries
	}
	x.seed = maphash.MakeSeed()
	known := map[uint64]bool{}
	l := listing{page: a.ListDir, visit: func(f cellhold.FileInfo) { known[x.hash(f.Exact())] = true }}
	if err := l.read(ctx, x.dir, depth); err != nil {
		return ctx.Err() // without the list, a replaced file is reported as a new one
	}
	x.known = known
	return nil
}

// translate returns the events of a change.
func (x *watch) translate(c cellhold.FileChange) []*filesystempb.FilesystemEvent {
	p := c.Exact()
	event := func(t filesystempb.EventType) *filesystempb.FilesystemEvent {
		return &filesystempb.FilesystemEvent{Name: valid(strings.TrimPrefix(strings.TrimPrefix(p, x.dir), "/")), Type: t}
	}
	switch c.Type {
	case cellhold.FileCreated:
		id := x.hash(p)
		replaced := x.known[id]
		if x.known != nil && len(x.known) < maxEntries {
			x.known[id] = true
		}
		switch {
		case c.Directory:
			return []*filesystempb.FilesystemEvent{event(filesystempb.EventType_EVENT_TYPE_CREATE)}
		case replaced:
			return []*filesystempb.FilesystemEvent{event(filesystempb.EventType_EVENT_TYPE_WRITE)}
		}
		return []*filesystempb.FilesystemEvent{event(filesystempb.EventType_EVENT_TYPE_CREATE), event(filesystempb.EventType_EVENT_TYPE_WRITE)}
	case cellhold.FileModified:
		if c.Directory {
			return nil
		}
		return []*filesystempb.FilesystemEvent{event(filesystempb.EventType_EVENT_TYPE_WRITE)}
	case cellhold.FileRemoved:
		delete(x.known, x.hash(p))
		return []*filesystempb.FilesystemEvent{event(filesystempb.EventType_EVENT_TYPE_REMOVE)}
	}
	return nil
}

// errMissed is the error of a watch that missed changes.
var errMissed = connect.NewError(connect.CodeDataLoss, cellhold.Errorf(cellhold.Unavailable, "Changes were missed, because there were too many: list the directory and watch it again."))

// run watches the directory until ctx ends. It calls ready when all later changes are reported, and then each for
// every event. It ends when ready or each returns an error.
func (x *watch) run(ctx context.Context, s *session.Session, ready func() error, each func(*filesystempb.FilesystemEvent) error) error {
	a, leave, err := s.Enter(ctx)
	if err != nil {
		return err
	}
	err = x.open(ctx, a)
	leave() // a watched session can still hibernate
	if err != nil {
		return err
	}
	begun := false
	for c, err := range a.WatchDir(ctx, x.dir, x.recursive) {
		switch {
		case err != nil:
			return err
		case !begun:
			begun, err = true, ready()
		case c.Type == cellhold.FileOverflow:
			return errMissed
		default:
			for _, e := range x.translate(c) {
				if err = each(e); err != nil {
					break
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkWatch refuses what watches do not have.
func checkWatch(entries, mounts bool) error {
	if entries || mounts {
		return cellhold.Errorf(cellhold.Unsupported, "Watches have no entries in their events, and no network mounts.")
	}
	return nil
}

func (s *Server) watchDir(ctx context.Context, c *call, in *filesystempb.WatchDirRequest, out *connect.ServerStream[filesystempb.WatchDirResponse]) error {
	if err := checkWatch(in.GetIncludeEntry(), in.GetAllowNetworkMounts()); err != nil {
		return err
	}
	x := &watch{dir: absolute(in.GetPath()), recursive: in.GetRecursive()}
	stream, ctx := exchange.NewStream(ctx, c.w)
	defer stream.Close()
	send := func(r *filesystempb.WatchDirResponse) error {
		return stream.Send(0, func() error { return out.Send(r) })
	}
	ready := func() error {
		stream.KeepAlive(c.ping, func() error {
			return out.Send(&filesystempb.WatchDirResponse{Event: &filesystempb.WatchDirResponse_Keepalive{Keepalive: &filesystempb.WatchDirResponse_KeepAlive{}}})
		})
		return send(&filesystempb.WatchDirResponse{Event: &filesystempb.WatchDirResponse_Start{Start: &filesystempb.WatchDirResponse_StartEvent{}}})
	}
	return x.run(ctx, c.session, ready, func(e *filesystempb.FilesystemEvent) error {
		return send(&filesystempb.WatchDirResponse{Event: &filesystempb.WatchDirResponse_Filesystem{Filesystem: e}})
	})
}
