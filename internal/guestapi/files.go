package guestapi

import "time"

// The routes of files. They continue the list in guestapi.go:
//
//	GET    /v1/files?path=P&after=NAME&limit=N          → Listing of a directory, one page
//	DELETE /v1/files?path=P&recursive=true              → 204
//	GET    /v1/files/stat?path=P&follow=true            → Entry; of a link's target if follow is set
//	GET    /v1/files/content?path=P&offset=N&length=N&version=V → the bytes; 409 if the version differs. ETag is the
//	       version of the sent file, Content-Length what it had from the offset on when it was opened
//	PUT    /v1/files/content?path=P&limit=N&mode=M      the bytes → Entry; the file appears whole or not at all
//	POST   /v1/files/directory?path=P                   → Entry; 201 when it was made
//	POST   /v1/files/move?from=P&to=P&replace=true      → Entry
//	GET    /v1/files/archive?path=P&format=F            → the tree as tar, tgz or zip
//	PUT    /v1/files/archive?path=P&limit=N             tar, tgz or zip → Unpacked; all of it or nothing
//	GET    /v1/files/watch?path=P&recursive=true        → 200, one Change per line (NDJSON), empty lines as heartbeats, endless
//
// Paths are absolute, or relative to the kernels' working directory. They can have any bytes except NUL. In
// queries and in JSON they are percent-encoded, because JSON cannot express bytes that are not UTF-8.

// Bounds of files, archives and watches.
const (
	// MaxFileName is the limit of one component of a path in bytes on Linux; MaxFilePath is that of the path.
	// MaxFileDepth is the limit of components, because deeper trees break programs that walk them.
	MaxFileName  = 255
	MaxFileDepth = 128
	// MaxPage is the limit of entries on one page of a listing.
	MaxPage = 1000
	// MaxArchiveEntries is the limit of files and directories in one archive. Most projects have fewer with
	// all their dependencies. The agent creates and removes this number within half a minute.
	MaxArchiveEntries = 100_000
	// MaxChange is the limit of one line of a watch in bytes: a path in which every byte is escaped, and
	// the other fields.
	MaxChange = 6*MaxFilePath + 1024
	// WatchBeat is how often a watch without changes sends an empty line.
	WatchBeat = 10 * time.Second
)

// WorkDir is the working directory of kernels, and the base of relative paths.
const WorkDir = "/workspace"

// Entry is one file, directory or link.
type Entry struct {
	Path     string    `json:"path,omitempty"` // absolute, percent-encoded; not in listings
	Name     string    `json:"name"`           // last component, percent-encoded
	Type     string    `json:"type"`           // file, directory, symlink or other
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Mode     uint32    `json:"mode"`             // permission bits
	Target   string    `json:"target,omitempty"` // of a symlink, percent-encoded
	Version  string    `json:"version"`          // changes with the content; hexadecimal digits and '-'
}

// Listing is one page of a directory, in the byte order of the names.
type Listing struct {
	Path    string  `json:"path"` // of the directory, absolute, percent-encoded
	Entries []Entry `json:"entries"`
	More    bool    `json:"more"` // there are more names after the last one
}

// Unpacked counts the content of an archive.
type Unpacked struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"`
}

// Change is one line of a watch.
type Change struct {
	Type string `json:"type"`           // created, modified, removed or overflow; after an overflow the reader must read everything again
	Path string `json:"path,omitempty"` // absolute, percent-encoded; an overflow has none
	Dir  bool   `json:"dir,omitempty"`
}
