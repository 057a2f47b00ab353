package mcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"unicode/utf8"

	"cellhold"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// maxEntries is the maximum number of entries in a list of a directory.
	maxEntries = 200
	// maxPart is the maximum number of bytes that read_file reads: maxText characters of four bytes.
	maxPart = 4 * maxText
)

// ReadFile is the argument of read_file.
type ReadFile struct {
	Path   string `json:"path" jsonschema:"absolute, or relative to the session's working directory; or a cellhold:// link"`
	Offset int64  `json:"offset,omitempty" jsonschema:"byte to start at"`
	ID     string `json:"session_id,omitempty"`
}

// WriteFile is the argument of write_file.
type WriteFile struct {
	Path    string `json:"path" jsonschema:"absolute, or relative to the session's working directory"`
	Content string `json:"content"`
	ID      string `json:"session_id,omitempty"`
}

// ListFiles is the argument of list_files.
type ListFiles struct {
	Path string `json:"path,omitempty" jsonschema:"omit it for the session's working directory"`
	ID   string `json:"session_id,omitempty"`
}

func (c call) readFile(ctx context.Context, in ReadFile) (*sdk.CallToolResult, error) {
	if in.Offset < 0 {
		return nil, cellhold.Errorf(cellhold.Invalid, "Invalid offset %d: use 0 or more.", in.Offset)
	}
	source, err := parseURI(in.Path)
	note := ""
	if err != nil && strings.HasPrefix(in.Path, scheme) {
		return nil, err
	}
	if err != nil {
		source = link{kind: linkFile, path: in.Path}
		if source.session, note, err = c.session(ctx, in.ID); err != nil {
			return nil, err
		}
	}
	if in.Offset == 0 && source.kind == linkFile {
		if result, err := c.readImage(ctx, source, note); result != nil || err != nil {
			return result, err
		}
	}
	raw, more, err := source.read(ctx, c.caller.Client, in.Offset, maxPart)
	if err != nil {
		return nil, err
	}
	return c.showFile(in, source, raw, more, note), nil
}

// readImage returns a file as an image, or nil if it is not one.
func (c call) readImage(ctx context.Context, source link, note string) (*sdk.CallToolResult, error) {
	switch strings.ToLower(path.Ext(source.path)) {
	case ".png", ".jpg", ".jpeg":
	default:
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, imageTime)
	defer cancel()
	busy := cellhold.Errorf(cellhold.Unavailable, "The image is not shown: the server is busy with other images.")
	release, err := reading.take(ctx)
	if err != nil {
		return nil, busy
	}
	defer release()
	raw, more, err := source.read(ctx, c.caller.Client, 0, maxSource)
	if err != nil || more {
		return nil, err
	}
	image, err := picture(ctx, raw)
	if errors.Is(err, errBusy) {
		return nil, busy
	}
	if err != nil {
		return nil, nil // its bytes are described like those of other files
	}
	text := noted(note, fmt.Sprintf("[session %s · %s · %d bytes]", source.session, shown(source.path), len(raw)))
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}, image}}, nil
}

// showFile returns a part of a file as text.
func (c call) showFile(in ReadFile, source link, raw []byte, more bool, note string) *sdk.CallToolResult {
	raw = wholeRunes(raw, more)
	if !utf8.Valid(raw) || strings.ContainsRune(string(raw), 0) {
		text := fmt.Sprintf("%s is not text: it looks like %s. Read it with code.", shown(in.Path), http.DetectContentType(raw))
		return &sdk.CallToolResult{IsError: true, Content: []sdk.Content{&sdk.TextContent{Text: noted(note, text)}}}
	}
	text := string(raw)
	if cut := at(text, maxText); cut < len(text) {
		text, more = text[:cut], true
	}
	last := fmt.Sprintf("[session %s · bytes %d to %d", source.session, in.Offset, in.Offset+int64(len(text)))
	if more {
		last += fmt.Sprintf(" · the file continues: read on with offset %d]", in.Offset+int64(len(text)))
	} else {
		last += " · end of the file]"
	}
	r := &result{}
	r.add(note)
	r.add(harmless(text))
	r.add(last)
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: r.text.String()}}}
}

// wholeRunes removes a character that is cut at the end of a part.
func wholeRunes(raw []byte, more bool) []byte {
	for n := 1; more && n < utf8.UTFMax && n <= len(raw); n++ {
		if tail := raw[len(raw)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return raw[:len(raw)-n]
			}
			break
		}
	}
	return raw
}

func (c call) writeFile(ctx context.Context, in WriteFile) (*sdk.CallToolResult, error) {
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	written, err := c.caller.Client.WriteFile(ctx, id, in.Path, strings.NewReader(in.Content), 0)
	if dir := path.Dir(in.Path); err != nil && cellhold.KindOf(err) == cellhold.NotFound && dir != "." && dir != "/" {
		if err := c.caller.Client.MakeDir(ctx, id, dir); err != nil {
			return nil, err
		}
		written, err = c.caller.Client.WriteFile(ctx, id, in.Path, strings.NewReader(in.Content), 0)
	}
	if err != nil {
		return nil, err
	}
	return say("%s", noted(note, fmt.Sprintf("[session %s · wrote %q · %d bytes]", id, shown(written.Path), written.Size))), nil
}

func (c call) listFiles(ctx context.Context, in ListFiles) (*sdk.CallToolResult, error) {
	id, note, err := c.session(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	entries, more, err := c.caller.Client.ListDirUpTo(ctx, id, in.Path, maxEntries)
	if err != nil {
		return nil, err
	}
	r := &result{}
	r.add(note)
	for _, e := range entries {
		name := shown(path.Base(e.Path))
		switch e.Type {
		case cellhold.FileDirectory:
			r.line("%s/", name)
		case cellhold.FileRegular:
			r.line("%s  %d bytes", name, e.Size)
		case cellhold.FileSymlink:
			r.line("%s -> %s", name, shown(e.Target))
		default:
			r.line("%s  (not a regular file)", name)
		}
	}
	if len(entries) == 0 {
		r.line("The directory is empty.")
	}
	if more {
		r.line("… and more entries. Use run_command with ls.")
	}
	r.line("[session %s]", id)
	return say("%s", r.text.String()), nil
}

// readUpTo reads at most most bytes, and reports whether there are more.
func readUpTo(r io.Reader, most int64) (raw []byte, more bool, err error) {
	raw, err = io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, false, cellhold.Wrap(cellhold.Unavailable, err, "The file is incomplete: the connection broke. Retry.")
	}
	if int64(len(raw)) > most {
		return raw[:most], true, nil
	}
	return raw, false, nil
}

// limited collects at most most bytes. A further byte is an error, which ends the download.
type limited struct {
	raw  []byte
	most int64
	more bool
}

var errFull = errors.New("the limit is reached")

func (l *limited) Write(p []byte) (int, error) {
	if room := l.most - int64(len(l.raw)); int64(len(p)) > room {
		l.raw = append(l.raw, p[:room]...)
		l.more = true
		return int(room), errFull
	}
	l.raw = append(l.raw, p...)
	return len(p), nil
}
