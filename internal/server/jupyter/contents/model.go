package contents

import (
	"path"
	"strconv"
	"strings"
	"time"

	"cellhold"
)

// The types of a model.
const (
	typeDirectory = "directory"
	typeFile      = "file"
	typeNotebook  = "notebook"
)

// The formats of a content.
const (
	formatText   = "text"
	formatBase64 = "base64"
	formatJSON   = "json"
)

// model is a file, a notebook or a directory as Jupyter shows it. Clients need all fields, and null for those without a value.
type model struct {
	Name          string  `json:"name"`
	Path          string  `json:"path"`
	Type          string  `json:"type"`
	Writable      bool    `json:"writable"`
	Created       string  `json:"created"`
	LastModified  string  `json:"last_modified"`
	MimeType      *string `json:"mimetype"`
	Format        *string `json:"format"`
	Content       any     `json:"content"`
	Size          *int64  `json:"size"`
	Hash          *string `json:"hash"`
	HashAlgorithm *string `json:"hash_algorithm"`
}

// timeText writes a time as Jupyter Server does.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// modelOf returns the model of a file, without content. A sandbox does not know when a file was created.
func modelOf(p place, f cellhold.FileInfo) model {
	m := model{Name: p.name(), Path: p.String(), Type: typeFile, Writable: writable(f), Created: timeText(f.Modified), LastModified: timeText(f.Modified)}
	switch {
	case f.Type == cellhold.FileDirectory:
		m.Type = typeDirectory
		return m
	case p.isNotebook():
		m.Type = typeNotebook
	}
	m.Size = &f.Size
	return m
}

// writable reports whether the owner of a file can change it. Code in the sandbox can change the owner's bits only.
func writable(f cellhold.FileInfo) bool {
	mode, err := strconv.ParseUint(f.Mode, 8, 32)
	return err == nil && mode&0o200 != 0
}

// folderModel returns the model of a session's folder.
func folderModel(p place, f Folder) model {
	return model{Name: p.name(), Path: p.String(), Type: typeDirectory, Writable: true, Created: timeText(f.Created), LastModified: timeText(f.Used)}
}

// setContent sets the content of a model.
func (m *model) setContent(format string, content any) { m.Format, m.Content = &format, content }

// setHash sets the hash of a model: SHA-256 in hexadecimal.
func (m *model) setHash(sum string) {
	algorithm := "sha256"
	m.Hash, m.HashAlgorithm = &sum, &algorithm
}

// kinds has the media types of files in which clients choose a viewer. The table of the host is not used: it differs from
// machine to machine.
var kinds = map[string]string{
	".csv": "text/csv", ".gif": "image/gif", ".htm": "text/html", ".html": "text/html", ".ipynb": "application/x-ipynb+json", ".jpeg": "image/jpeg",
	".jpg": "image/jpeg", ".js": "text/javascript", ".json": "application/json", ".md": "text/markdown", ".pdf": "application/pdf", ".png": "image/png",
	".py": "text/x-python", ".svg": "image/svg+xml", ".tsv": "text/tab-separated-values", ".txt": "text/plain", ".webp": "image/webp", ".xml": "text/xml",
}

// setMimeType sets the media type of a file.
func (m *model) setMimeType() {
	kind := kinds[strings.ToLower(path.Ext(m.Name))]
	if kind == "" {
		kind = "text/plain"
		if *m.Format == formatBase64 {
			kind = "application/octet-stream"
		}
	}
	m.MimeType = &kind
}
