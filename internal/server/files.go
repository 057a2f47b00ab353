package server

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// OutputFile is one file that the session's code wrote to /mnt/data/output.
type OutputFile struct {
	Path     string    `json:"path" doc:"Its path below /mnt/data/output." example:"plots/sales.png"`
	Size     int64     `json:"size" doc:"Bytes." example:"48213"`
	Modified time.Time `json:"modified" doc:"When it was last written."`
}

// FileList is the body that lists files.
type FileList struct {
	Files []OutputFile `json:"files" doc:"The files, in the order of their paths."`
}

type filesOutput struct {
	Body FileList
}

type fileInput struct {
	SessionPath
	Path string `path:"path" doc:"The file's path as listed; it may contain slashes." example:"plots/sales.png"`
}

func (s *Server) fileRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "list-files", Method: http.MethodGet, Path: "/v1/sessions/{id}/output", Tags: []string{tagFiles},
		Summary:     "List the files that the code wrote",
		Description: "What cells wrote to /mnt/data/output. A file is here before the cell that wrote it is reported done.",
	}, s.listFiles)
	register(api, huma.Operation{
		OperationID: "get-file", Method: http.MethodGet, Path: "/v1/sessions/{id}/output/{path}", Tags: []string{tagFiles},
		Summary:     "Download a file that the code wrote",
		Description: "Always an attachment of no particular type, whatever the file's name says: a page that untrusted code wrote must not be shown as a page of this server. Ranges work.",
		Responses:   download("The file", "application/octet-stream"),
	}, s.getFile)
}

func download(description, mediaType string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: description,
		Content:     map[string]*huma.MediaType{mediaType: {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
	}}
}

func (s *Server) listFiles(ctx context.Context, in *SessionPath) (*filesOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	files, err := sess.HostFiles().Outputs()
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list := FileList{Files: []OutputFile{}}
	for _, f := range files {
		list.Files = append(list.Files, OutputFile(f))
	}
	return &filesOutput{Body: list}, nil
}

func (s *Server) getFile(ctx context.Context, in *fileInput) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		s.serveFile(w, r, sess, in.Path)
	}}, nil
}

func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, sess *session.Session, name string) {
	f, err := sess.HostFiles().OpenOutput(name)
	if err != nil {
		s.failStream(w, r, err, true)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		s.failStream(w, r, err, true)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream") // ServeContent would guess, and guess text/html
	h.Set("Content-Disposition", asDownload(path.Base(name)))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// asDownload returns a Content-Disposition (RFC 6266) that asks to save under the name. Old
// readers get the ASCII part of the name, all others the whole; quotes, control characters and
// separators cannot end the value early or name a directory.
func asDownload(name string) string {
	ascii := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || strings.ContainsRune(`"\/%;`, c) {
			return '_'
		}
		return c
	}, name)
	value := `attachment; filename="` + ascii + `"`
	if ascii != name {
		value += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return value
}
