package cellhold

import (
	"net/url"
	"strings"
	"time"
)

// FileType is what stands at a path.
type FileType string

// The types of file. What is other (a device, a pipe, a socket) can be listed, moved and removed, and
// not be read.
const (
	FileRegular   FileType = "file"
	FileDirectory FileType = "directory"
	FileSymlink   FileType = "symlink"
	FileOther     FileType = "other"
)

// FileInfo describes what stands at a path in a session's sandbox.
type FileInfo struct {
	Path     string    `json:"path" doc:"Its path in the sandbox; bytes that are no UTF-8 are shown as U+FFFD." example:"/workspace/data/sales.csv"`
	Escaped  string    `json:"escaped,omitempty" doc:"The path percent-encoded, as for a URL, when it is not valid UTF-8: every path can be given in this form." example:"/workspace/caf%E9.txt"`
	Type     FileType  `json:"type" enum:"file,directory,symlink,other" doc:"What it is; other is a device, a pipe or a socket."`
	Size     int64     `json:"size" doc:"Bytes of a file; 0 of all else." example:"48213"`
	Modified time.Time `json:"modified" doc:"When it was last written."`
	Mode     string    `json:"mode" doc:"Permission bits, octal." example:"0644"`
	Target   string    `json:"target,omitempty" doc:"Where a symbolic link leads." example:"../shared/sales.csv"`
	Version  string    `json:"version" doc:"Changes with the content; its ETag." example:"18a1f2c3d4e5f607-bc55-2a"`
}

// Exact returns the path as its bytes are.
func (f FileInfo) Exact() string { return exactPath(f.Path, f.Escaped) }

// CellFile is a file that was written while a cell ran.
type CellFile struct {
	Path     string    `json:"path" doc:"Its path in the sandbox; bytes that are no UTF-8 are shown as U+FFFD." example:"/workspace/model.pt"`
	Escaped  string    `json:"escaped,omitempty" doc:"The path percent-encoded, when it is not valid UTF-8."`
	Size     int64     `json:"size" doc:"Bytes, at the end of the cell." example:"48213"`
	Modified time.Time `json:"modified" doc:"When it was last written."`
}

// Exact returns the path as its bytes are.
func (f CellFile) Exact() string { return exactPath(f.Path, f.Escaped) }

// FileChangeType is what happened to a file.
type FileChangeType string

// What can happen to a file. After an overflow only looking helps: something was missed.
const (
	FileCreated  FileChangeType = "created"
	FileModified FileChangeType = "modified"
	FileRemoved  FileChangeType = "removed"
	FileOverflow FileChangeType = "overflow"
)

// FileChange is one thing that happened in a watched directory.
type FileChange struct {
	Type      FileChangeType `json:"type" enum:"created,modified,removed,overflow" doc:"What happened. After an overflow list the directory again: there was more than could be told."`
	Path      string         `json:"path,omitempty" doc:"Of what, as in a listing." example:"/workspace/model.pt"`
	Escaped   string         `json:"escaped,omitempty" doc:"The path percent-encoded, when it is not valid UTF-8."`
	Directory bool           `json:"directory,omitempty" doc:"It is a directory."`
}

// Exact returns the path as its bytes are.
func (c FileChange) Exact() string { return exactPath(c.Path, c.Escaped) }

func exactPath(shown, escaped string) string {
	if escaped == "" {
		return shown
	}
	if exact, err := url.PathUnescape(escaped); err == nil {
		return exact
	}
	return shown
}

// EscapePath percent-encodes a path so that it can stand in a URL, in the query too. Slashes stay.
func EscapePath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(url.QueryEscape(parts[i]), "+", "%20")
	}
	return strings.Join(parts, "/")
}
