package guestapi

import "time"

// The files of the guest, below the list in guestapi.go:
//
//	GET    /v1/files?path=P&after=NAME&limit=N          → Listing of a directory, one page
//	DELETE /v1/files?path=P&recursive=true              → 204
//	GET    /v1/files/stat?path=P                        → Entry
//	GET    /v1/files/content?path=P&offset=N&length=N&version=V → the bytes; 409 when the version is another
//	PUT    /v1/files/content?path=P&limit=N&mode=M      the bytes → Entry; the file appears whole or not at all
//	POST   /v1/files/directory?path=P                   → Entry; 201 when it was made
//	POST   /v1/files/move?from=P&to=P&replace=true      → Entry
//	GET    /v1/files/archive?path=P&format=F            → the tree as tar, tgz or zip
//	PUT    /v1/files/archive?path=P&limit=N             tar, tgz or zip → Unpacked; all of it or nothing
//	GET    /v1/files/watch?path=P&recursive=true        → 200, one Change a line (NDJSON), an empty line now and then, for ever
//
// Paths are absolute, or relative to the kernels' working directory, and are any bytes but NUL. In
// queries and in JSON they are percent-encoded, because JSON has no way to write what is no UTF-8.

// Bounds of files, archives and watches.
const (
	// MaxFilePath is the most bytes of a path that Linux takes, MaxFileName of one component, and
	// MaxFileDepth how many components there may be: deeper trees break the programs that walk them.
	MaxFilePath  = 4095
	MaxFileName  = 255
	MaxFileDepth = 128
	// MaxPage is the most entries of one page of a listing.
	MaxPage = 1000
	// MaxCellFiles is the most files that are told of one cell.
	MaxCellFiles = 100
	// MaxArchiveEntries is the most files and directories of one archive: more than most projects
	// have with all their dependencies, and made and removed again within half a minute.
	MaxArchiveEntries = 100_000
	// MaxChange is the most bytes of one line of a watch: a path in which every byte is escaped,
	// a second one, and the rest.
	MaxChange = 6*MaxFilePath + 1024
	// WatchBeat is how often a watch with nothing to say sends an empty line.
	WatchBeat = 10 * time.Second
)

// WorkDir is the working directory of kernels, and the base of relative paths.
const WorkDir = "/workspace"

// Entry is one thing in a directory.
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

// Listing is one page of a directory, in the order of the names' bytes.
type Listing struct {
	Path    string  `json:"path"` // of the directory, absolute, percent-encoded
	Entries []Entry `json:"entries"`
	More    bool    `json:"more"` // there are names after the last one
}

// Unpacked says what an archive held.
type Unpacked struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"`
}

// Change is one line of a watch.
type Change struct {
	Type string `json:"type"`           // created, modified, removed, or overflow: look at everything again
	Path string `json:"path,omitempty"` // absolute, percent-encoded; not of overflow
	Dir  bool   `json:"dir,omitempty"`
}
