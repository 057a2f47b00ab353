package cellhold

import (
	"net/url"
	"strings"
	"time"
)

// FileType is the type of a file.
type FileType string

// The types of file. Other files (devices, pipes, sockets) can be listed, moved and removed. They cannot be
// read.
const (
	FileRegular   FileType = "file"
	FileDirectory FileType = "directory"
	FileSymlink   FileType = "symlink"
	FileOther     FileType = "other"
)

// FileInfo describes a file at a path in a session's sandbox.
type FileInfo struct {
	Path     string    `json:"path" doc:"Path in the sandbox. Bytes that are not UTF-8 are shown as U+FFFD." example:"/workspace/data/sales.csv"`
	Escaped  string    `json:"escaped,omitempty" doc:"Percent-encoded path, if the path is not valid UTF-8. Requests accept every path in this form." example:"/workspace/caf%E9.txt"`
	Type     FileType  `json:"type" enum:"file,directory,symlink,other" doc:"Type of the file. other is a device, a pipe or a socket."`
	Size     int64     `json:"size" doc:"Size of a regular file in bytes, otherwise 0." example:"48213"`
	Modified time.Time `json:"modified" doc:"Time of the last write."`
	Mode     string    `json:"mode" doc:"Permission bits in octal." example:"0644"`
	Target   string    `json:"target,omitempty" doc:"Target of a symbolic link." example:"../shared/sales.csv"`
	Version  string    `json:"version" doc:"Version of the content. The download has it as ETag." example:"18a1f2c3d4e5f607-bc55-2a"`
}

// Exact returns the path with its original bytes.
func (f FileInfo) Exact() string { return exactPath(f.Path, f.Escaped) }

// CellFile is a file that was written while a cell ran.
type CellFile struct {
	Path     string    `json:"path" doc:"Path in the sandbox. Bytes that are not UTF-8 are shown as U+FFFD." example:"/workspace/model.pt"`
	Escaped  string    `json:"escaped,omitempty" doc:"Percent-encoded path, if the path is not valid UTF-8."`
	Size     int64     `json:"size" doc:"Size at the end of the cell, in bytes." example:"48213"`
	Modified time.Time `json:"modified" doc:"Time of the last write."`
}

// Exact returns the path with its original bytes.
func (f CellFile) Exact() string { return exactPath(f.Path, f.Escaped) }

// FileChangeType is the type of a change in a watched directory.
type FileChangeType string

// The types of change. FileOverflow means that changes were missed: list the directory again.
const (
	FileCreated  FileChangeType = "created"
	FileModified FileChangeType = "modified"
	FileRemoved  FileChangeType = "removed"
	FileOverflow FileChangeType = "overflow"
)

// FileChange is one change in a watched directory.
type FileChange struct {
	Type      FileChangeType `json:"type" enum:"created,modified,removed,overflow" doc:"Type of the change. overflow means that changes were missed: list the directory again."`
	Path      string         `json:"path,omitempty" doc:"Path that changed." example:"/workspace/model.pt"`
	Escaped   string         `json:"escaped,omitempty" doc:"Percent-encoded path, if the path is not valid UTF-8."`
	Directory bool           `json:"directory,omitempty" doc:"True if the path is a directory."`
}

// Exact returns the path with its original bytes.
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

// EscapePath percent-encodes a path, so that it can stand in the path or in the query of a URL. It keeps slashes.
func EscapePath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(url.QueryEscape(parts[i]), "+", "%20")
	}
	return strings.Join(parts, "/")
}
