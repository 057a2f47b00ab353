package server

import (
	"context"
	"net/http"
	"path"

	"cellhold"

	"github.com/danielgtaylor/huma/v2"
)

const (
	folderPath = "/v1/sessions/{id}/files"
	anyType    = "application/octet-stream"
)

// PathQuery names a path in the sandbox. It is exported because huma looks only into exported
// embedded structs.
type PathQuery struct {
	Path string `query:"path" required:"true" doc:"A path in the sandbox, absolute or below /workspace, percent-encoded as all queries are; so bytes that are no UTF-8 can be given too. It may not have \"..\" in it." example:"data/sales.csv"`
}

type pathInput struct {
	SessionPath
	PathQuery
}

type listDirInput struct {
	SessionPath
	Path  string `query:"path" doc:"The directory; /workspace when absent." example:"/mnt/data/output"`
	After string `query:"after" doc:"The next of the page before." example:"part-01000.csv"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"Most entries of the page."`
}

// Directory is the body that lists one page of a directory.
type Directory struct {
	Entries []cellhold.FileInfo `json:"entries" doc:"What is in it, in the order of the names' bytes."`
	Next    string              `json:"next,omitempty" doc:"Percent-encoded; give it as after for the next page. Absent on the last one." example:"part-01000.csv"`
}

type directoryOutput struct{ Body Directory }

type fileOutput struct {
	Status int
	Body   cellhold.FileInfo
}

type contentInput struct {
	SessionPath
	PathQuery
	Range string `header:"Range" doc:"One range of bytes." example:"bytes=0-1023"`
}

type writeInput struct {
	SessionPath
	PathQuery
	Mode string `query:"mode" pattern:"^0?[0-7]{3}$" doc:"Permission bits, octal; those of the file that is there when absent, else 0644." example:"0755"`
}

type moveInput struct {
	SessionPath
	From    string `query:"from" required:"true" doc:"What to move." example:"draft.txt"`
	To      string `query:"to" required:"true" doc:"Its new path; directories above it are made." example:"done/final.txt"`
	Replace bool   `query:"replace" doc:"Replace a file that is there."`
}

type removeInput struct {
	SessionPath
	PathQuery
	Recursive bool `query:"recursive" doc:"Also what is in a directory."`
}

type archiveInput struct {
	SessionPath
	PathQuery
	Format string `query:"format" enum:"tar,tgz,zip" default:"tar" doc:"Of the answer."`
}

type watchInput struct {
	SessionPath
	Path      string `query:"path" doc:"The directory; /workspace when absent." example:"/workspace"`
	Recursive bool   `query:"recursive" doc:"Also what is below it."`
}

type uploadInput struct {
	SessionPath
	Path string `query:"path" doc:"The directory that the files come into; /workspace when absent." example:"data"`
}

// FilesWritten is the body that says which files were written.
type FilesWritten struct {
	Files []cellhold.FileInfo `json:"files" doc:"The files, in the order in which they came."`
}

// Unpacked is the body that says what an archive held.
type Unpacked struct {
	Entries int   `json:"entries" doc:"Files, directories and links." example:"12"`
	Bytes   int64 `json:"bytes" doc:"Bytes of all files together." example:"48213"`
}

func (s *Server) folderRoutes(api huma.API) {
	op := func(id, method, route, summary, text string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: folderPath + route, Tags: []string{tagFiles}, Summary: summary, Description: text}
	}
	register(api, op("list-directory", http.MethodGet, "", "List a directory",
		"A page of what is in a directory of the sandbox; read on with after=next until there is no next."), s.listDirectory)
	register(api, op("stat-file", http.MethodGet, "/stat", "Look at a file",
		"What stands at the path: a symbolic link itself, not what it leads to."), s.statFile)
	content := op("download-file", http.MethodGet, "/content", "Download any file of the sandbox",
		"Ranges and conditions (If-Range, If-None-Match with the ETag) work. The size is that of the moment of opening. Always an attachment of no particular type. Directories are downloaded as archives; devices, pipes and sockets are refused.")
	content.Responses = download("The file", anyType)
	register(api, content, s.downloadFile)
	write := op("upload-file", http.MethodPut, "/content", "Upload a file",
		"The body is the file, of any size that the session's disk and the server's --max-upload take. Directories above it are made. It appears whole or not at all, and replaces what file or link was there.")
	write.RequestBody, write.Responses = upload(anyType), jsonAnswer(api, cellhold.FileInfo{}, "The file")
	register(api, write, s.uploadFile)
	form := op("upload-files", http.MethodPost, "", "Upload files of a form",
		"Each part of the multipart/form-data with a file name becomes a file of that name, without the folders that the name may have. If one fails, those before it are there.")
	form.Responses = jsonAnswer(api, FilesWritten{}, "The files") // its body is described later: huma would read it
	register(api, form, s.uploadForm)
	mkdir := op("make-directory", http.MethodPost, "/directory", "Make a directory", "And those above it. 200 when it is there already.")
	mkdir.DefaultStatus = http.StatusCreated
	register(api, mkdir, s.makeDirectory)
	register(api, op("move-file", http.MethodPost, "/move", "Move or rename a file or directory",
		"In one step within a file system; /workspace, /tmp and /mnt/data/output are one each, and between them it is a copy that takes its place when it is complete."), s.moveFile)
	remove := op("remove-file", http.MethodDelete, "", "Remove a file or directory", "A symbolic link itself, never what it leads to.")
	remove.DefaultStatus = http.StatusNoContent
	register(api, remove, s.removeFile)
	pack := op("download-archive", http.MethodGet, "/archive", "Download a directory as an archive",
		"What is in the directory, with names relative to it; or one file. Symbolic links are kept as links; devices, pipes and sockets are left out. An archive that cannot be finished ends in a broken connection.")
	pack.Responses = download("The archive", anyType)
	register(api, pack, s.downloadArchive)
	unpack := op("upload-archive", http.MethodPut, "/archive", "Upload an archive into a directory",
		"The body is a tar, tgz or zip, which is found out by looking. It is unpacked into the directory, which is made if need be: all of it or nothing. Files that are there are replaced. Refused are names that lead out of it, links that do, hard links, devices, files with setuid, names that are there twice, and archives that grow beyond bounds while they are unpacked.")
	unpack.RequestBody, unpack.Responses = upload(anyType), jsonAnswer(api, Unpacked{}, "What it held")
	register(api, unpack, s.uploadArchive)
	watch := op("watch-directory", http.MethodGet, "/watch", "Watch a directory",
		"Server-sent events. The first, ready, says that from now on nothing is missed; then created, modified and removed, each with the path, several changes of one file within 50 ms gathered into one; overflow says that there was more than could be told: list the directory again. A last event bye comes when the server or the sandbox ends the watch.")
	watch.Responses = map[string]*huma.Response{"200": {Description: "The changes",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: schemaOf(api, cellhold.FileChange{})}}}}
	register(api, watch, s.watchDirectory)
}

// upload describes a body that is read as it comes.
func upload(mediaType string) *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{mediaType: {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}
}

func uploadForm() *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: &huma.Schema{
		Type:       "object",
		Properties: map[string]*huma.Schema{"file": {Type: "array", Items: &huma.Schema{Type: "string", Format: "binary"}, Description: "The files; parts of other names are taken as well."}},
	}}}}
}

func jsonAnswer(api huma.API, value any, description string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: description,
		Content: map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, value)}}}}
}

func orWorkspace(p string) string {
	if p == "" {
		return "."
	}
	return p
}

func (s *Server) listDirectory(ctx context.Context, in *listDirInput) (*directoryOutput, error) {
	a, leave, err := s.enter(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	defer leave()
	list, more, err := a.ListDir(ctx, orWorkspace(in.Path), in.After, in.Limit)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &directoryOutput{Body: Directory{Entries: list}}
	if more {
		out.Body.Next = cellhold.EscapePath(path.Base(list[len(list)-1].Exact()))
	}
	return out, nil
}

func (s *Server) statFile(ctx context.Context, in *pathInput) (*fileOutput, error) {
	a, leave, err := s.enter(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	defer leave()
	info, err := a.StatFile(ctx, in.Path, false)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &fileOutput{Status: http.StatusOK, Body: info}, nil
}

func (s *Server) makeDirectory(ctx context.Context, in *pathInput) (*fileOutput, error) {
	a, leave, err := s.enter(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	defer leave()
	info, made, err := a.MakeDir(ctx, in.Path)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	if !made {
		return &fileOutput{Status: http.StatusOK, Body: info}, nil
	}
	return &fileOutput{Status: http.StatusCreated, Body: info}, nil
}

func (s *Server) moveFile(ctx context.Context, in *moveInput) (*fileOutput, error) {
	a, leave, err := s.enter(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	defer leave()
	info, err := a.MoveFile(ctx, in.From, in.To, in.Replace)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &fileOutput{Status: http.StatusOK, Body: info}, nil
}

func (s *Server) removeFile(ctx context.Context, in *removeInput) (*struct{}, error) {
	a, leave, err := s.enter(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	defer leave()
	if err := a.RemoveFile(ctx, in.Path, in.Recursive); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}
