// Package contents serves the files of sandboxes as Jupyter's contents API. The root has one folder for each session of the
// caller. Below it are the files of the session's working directory.
//
// It resolves no path: the agent in the sandbox does. It stores no file on the host.
package contents

import (
	"context"
	"net/http"
	"slices"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/exclusive"
	"cellhold/internal/memory"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

const (
	// maxDocument is the maximum size in bytes of a file in an answer in JSON. Larger files are at /files.
	maxDocument = exchange.MaxBody
	// maxEntries is the maximum number of entries in a listing, and maxPaths that of the bytes of their paths.
	maxEntries = 10_000
	maxPaths   = 4 << 20
	// listing is the number of bytes for which a listing takes memory.
	listing = 1 << 20
	// maxLinks is the maximum number of symbolic links in a listing whose targets are looked up.
	maxLinks = 200
	// pageSize is the number of entries that one request to the sandbox returns.
	pageSize = 1000
	// budget is the memory in bytes for all documents that are read or written now, and factor the memory of a document for
	// each of its bytes: the file, its JSON, and the copies of conversions.
	budget = 256 << 20
	factor = 8
)

// Folder is the folder of one session.
type Folder struct {
	Name    string   // its name in the root
	Aliases []string // other names that clients can use in paths: the ids of its kernels
	ID      cellhold.SessionID
	Created time.Time
	Used    time.Time
}

// Options configures a Server. All fields are required.
type Options struct {
	// Folders returns the folders of a caller. It resumes no session.
	Folders func(ctx context.Context, caller string) []Folder
	// Session returns a session of a caller.
	Session func(ctx context.Context, caller string, id cellhold.SessionID) (*session.Session, error)
}

// Server answers requests for files. The caller must call Close at the end.
type Server struct {
	Options
	memory  *memory.Budget
	naming  exclusive.Keys // by session and directory: two new files must get two names
	uploads uploads
}

// New returns a server.
func New(o Options) *Server { return &Server{Options: o, memory: memory.New(budget)} }

// Close ends all uploads in parts and waits for them.
func (s *Server) Close() { s.uploads.close() }

// folder returns the folder of a place.
func (s *Server) folder(ctx context.Context, caller string, p place) (Folder, error) {
	for _, f := range s.Folders(ctx, caller) {
		if f.Name == p.folder || slices.Contains(f.Aliases, p.folder) {
			return f, nil
		}
	}
	return Folder{}, notFound(p)
}

// entered is the sandbox of a place, for the duration of one request.
type entered struct {
	*attachment.Attachment
	id cellhold.SessionID
}

// within runs f with the sandbox of a place. It resumes a hibernated session.
func (s *Server) within(ctx context.Context, caller string, p place, f func(entered) error) error {
	folder, err := s.folder(ctx, caller, p)
	if err != nil {
		return err
	}
	of, err := s.Session(ctx, caller, folder.ID)
	if err != nil {
		return err
	}
	a, leave, err := of.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return f(entered{a, folder.ID})
}

// hold takes memory for a document of n bytes.
func (s *Server) hold(ctx context.Context, n int64) (release func(), err error) {
	share, err := s.memory.Take(ctx, factor*n)
	if err != nil {
		return nil, err
	}
	return share.Release, nil
}

// write answers with a model. The client must read it at a minimum rate, because it holds memory.
func write(w http.ResponseWriter, status int, body any) {
	defer exchange.Steady(w)()
	exchange.WriteJSON(w, status, "application/json", body)
}
