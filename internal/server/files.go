package server

import (
	"context"
	"net/http"
	"path"
	"time"

	"cellhold/internal/server/download"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// OutputFile is one file that the session's code wrote to /mnt/data/output.
type OutputFile struct {
	Path     string    `json:"path" doc:"Path below /mnt/data/output." example:"plots/sales.png"`
	Size     int64     `json:"size" doc:"Size in bytes." example:"48213"`
	Modified time.Time `json:"modified" doc:"Time of the last write."`
}

// FileList is the body that lists files.
type FileList struct {
	Files []OutputFile `json:"files" doc:"Files, sorted by path."`
}

type filesOutput struct {
	Body FileList
}

type fileInput struct {
	SessionPath
	Path string `path:"path" doc:"Path of the file, as list-files returns it. It can contain slashes." example:"plots/sales.png"`
}

func (s *Server) fileRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "list-files", Method: http.MethodGet, Path: "/v1/sessions/{id}/output", Tags: []string{tagFiles},
		Summary:     "List the output files",
		Description: "Lists the files that cells wrote to /mnt/data/output. A cell's files are in the list before the cell is reported done.",
	}, s.listFiles)
	register(api, huma.Operation{
		OperationID: "get-file", Method: http.MethodGet, Path: "/v1/sessions/{id}/output/{path}", Tags: []string{tagFiles},
		Summary:     "Download an output file",
		Description: "The answer is always an attachment of type application/octet-stream. So a browser never shows a page that untrusted code wrote as a page of this server. Range requests work.",
		Responses:   downloadAnswer("The file", "application/octet-stream"),
	}, s.getFile)
}

func downloadAnswer(description, mediaType string) map[string]*huma.Response {
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
	download.AsAttachment(w.Header(), path.Base(name))
	http.ServeContent(w, r, "", info.ModTime(), f)
}
