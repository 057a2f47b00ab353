package envd

import (
	"io/fs"
	"path"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"cellhold"
	"cellhold/internal/server/envd/filesystempb"
)

// directorySize is the size of every directory, as most file systems show it.
const directorySize = 4096

// entry returns a file as E2B shows it.
func entry(f cellhold.FileInfo) *filesystempb.EntryInfo {
	p := f.Exact()
	mode, _ := strconv.ParseUint(f.Mode, 8, 32) // the server wrote it
	bits := fs.FileMode(mode) & fs.ModePerm
	e := &filesystempb.EntryInfo{Name: valid(path.Base(p)), Path: valid(p), Size: f.Size, Mode: uint32(bits), Owner: user, Group: user,
		ModifiedTime: timestamppb.New(f.Modified)}
	switch f.Type {
	case cellhold.FileDirectory:
		e.Type, e.Size, bits = filesystempb.FileType_FILE_TYPE_DIRECTORY, directorySize, bits|fs.ModeDir
	case cellhold.FileSymlink:
		e.Type = filesystempb.FileType_FILE_TYPE_SYMLINK
		e.SymlinkTarget = proto.String(valid(linkTarget(p, f.Target)))
		bits |= fs.ModeSymlink
	case cellhold.FileRegular:
		e.Type = filesystempb.FileType_FILE_TYPE_FILE
	}
	e.Permissions = bits.String()
	return e
}

// linkTarget returns the absolute target of a link.
func linkTarget(link, to string) string {
	if path.IsAbs(to) {
		return path.Clean(to)
	}
	return path.Join(path.Dir(link), to)
}

// valid returns a text that a message can have.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
