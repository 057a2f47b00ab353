package mcp

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"cellhold"
	"cellhold/client"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	scheme       = "cellhold://"
	notebookType = "application/x-ipynb+json"
	// maxResource is the maximum size of a resource in bytes. Programs put a resource into the conversation.
	maxResource = 4 << 20
)

// The kinds of link.
const (
	linkFile     = "files"
	linkNotebook = "notebook"
	linkCell     = "cells"
)

// link is a parsed cellhold:// URI.
type link struct {
	session cellhold.SessionID
	kind    string
	path    string          // of a file
	cell    cellhold.CellID // of a cell
	stream  string          // stdout or stderr of a cell
}

func fileURI(id cellhold.SessionID, exact string) string {
	return scheme + string(id) + "/files" + cellhold.EscapePath(path.Join("/", exact))
}

func notebookURI(id cellhold.SessionID) string { return scheme + string(id) + "/notebook" }

func textURI(id cellhold.SessionID, cell cellhold.CellID, stream string) string {
	return scheme + string(id) + "/cells/" + string(cell) + "/" + stream
}

// parseURI parses a cellhold:// URI.
func parseURI(uri string) (link, error) {
	invalid := cellhold.Errorf(cellhold.Invalid, "Invalid link %.200q: use cellhold://SESSION/files/PATH, cellhold://SESSION/notebook or cellhold://SESSION/cells/CELL/stdout.", uri)
	rest, ok := strings.CutPrefix(uri, scheme)
	if !ok {
		return link{}, invalid
	}
	id, rest, _ := strings.Cut(rest, "/")
	if checkID('s', id) != nil {
		return link{}, invalid
	}
	kind, rest, _ := strings.Cut(rest, "/")
	l := link{session: cellhold.SessionID(id), kind: kind}
	switch kind {
	case linkFile:
		exact, err := url.PathUnescape(rest)
		if err != nil || rest == "" {
			return link{}, invalid
		}
		l.path = "/" + exact
	case linkCell:
		cell, stream, _ := strings.Cut(rest, "/")
		if stream != "stdout" && stream != "stderr" || checkID('c', cell) != nil {
			return link{}, invalid
		}
		l.cell, l.stream = cellhold.CellID(cell), stream
	case linkNotebook:
		if rest != "" {
			return link{}, invalid
		}
	default:
		return link{}, invalid
	}
	return l, nil
}

// read reads at most most bytes from an offset, and reports whether there are more.
func (l link) read(ctx context.Context, c *client.Client, offset, most int64) (raw []byte, more bool, err error) {
	if l.kind == linkFile {
		file, err := c.ReadFileFrom(ctx, l.session, l.path, offset)
		if offset > 0 && err != nil && cellhold.KindOf(err) == cellhold.Invalid {
			return nil, false, cellhold.Wrap(cellhold.Invalid, err, "Invalid offset %d: the file ends before it, or the path is invalid.", offset)
		}
		if err != nil {
			return nil, false, err
		}
		defer file.Close()
		return readUpTo(file, most)
	}
	out := &limited{most: most}
	if l.kind == linkCell {
		err = c.Text(ctx, l.session, l.cell, l.stream, offset, out)
	} else {
		err = c.Notebook(ctx, l.session, &after{offset, out})
	}
	if err != nil && !out.more {
		return nil, false, err
	}
	return out.raw, out.more, nil
}

// after skips the first bytes that are written to it.
type after struct {
	skip int64
	to   *limited
}

func (a *after) Write(p []byte) (int, error) {
	n := min(a.skip, int64(len(p)))
	a.skip -= n
	written, err := a.to.Write(p[n:])
	return int(n) + written, err
}

// addResources registers the links that results have.
func (s *Server) addResources() {
	for _, t := range []*sdk.ResourceTemplate{
		{URITemplate: "cellhold://{session}/files/{+path}", Name: "file", Description: "A file of a session"},
		{URITemplate: "cellhold://{session}/notebook", Name: "notebook", Description: "The notebook of a session with all cells and outputs", MIMEType: notebookType},
		{URITemplate: "cellhold://{session}/cells/{cell}/{stream}", Name: "text", Description: "All text that a cell printed to stdout or stderr", MIMEType: "text/plain"},
	} {
		s.sdk.AddResourceTemplate(t, s.readResource)
	}
}

func (s *Server) readResource(ctx context.Context, req *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
	caller, err := callerOf(ctx, req.Extra)
	if err != nil {
		return nil, err
	}
	uri := req.Params.URI
	source, err := parseURI(uri)
	if err != nil {
		return nil, sdk.ResourceNotFoundError(uri)
	}
	raw, more, err := source.read(ctx, caller.Client, 0, maxResource)
	switch {
	case err != nil && cellhold.KindOf(err) == cellhold.NotFound:
		return nil, sdk.ResourceNotFoundError(uri)
	case err != nil:
		return nil, err
	case more:
		return nil, cellhold.Errorf(cellhold.Exhausted, "The resource has more than %d MiB. Read parts of it with read_file.", maxResource>>20)
	}
	content := &sdk.ResourceContents{URI: uri, MIMEType: http.DetectContentType(raw), Blob: raw}
	if utf8.Valid(raw) {
		content.Text, content.Blob = harmless(string(raw)), nil
		content.MIMEType = "text/plain"
	}
	if source.kind == linkNotebook {
		content.MIMEType = notebookType
	}
	return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{content}}, nil
}
