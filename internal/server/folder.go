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

// PathQuery is a path in the sandbox. It is exported because huma reads only exported embedded structs.
type PathQuery struct {
	Path string `query:"path" required:"true" doc:"Path in the sandbox, absolute or relative to the session's working directory. It is percent-encoded, so it can have bytes that are not UTF-8. It must not contain \"..\"." example:"data/sales.csv"`
}

type pathInput struct {
	SessionPath
	PathQuery
}

type listDirInput struct {
	SessionPath
	Path  string `query:"path" doc:"Path of the directory. Absent means the session's working directory." example:"/mnt/data/output"`
	After string `query:"after" doc:"Value of next from the previous page." example:"part-01000.csv"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"Maximum number of entries in the page."`
}

// Directory is the body that lists one page of a directory.
type Directory struct {
	Entries []cellhold.FileInfo `json:"entries" doc:"Entries, sorted by the bytes of their names."`
	Next    string              `json:"next,omitempty" doc:"Percent-encoded name. Send it as after to get the next page. Absent on the last page." example:"part-01000.csv"`
}

type directoryOutput struct{ Body Directory }

type fileOutput struct {
	Status int
	Body   cellhold.FileInfo
}

type contentInput struct {
	SessionPath
	PathQuery
	Range string `header:"Range" doc:"Range of bytes. Only one range is supported." example:"bytes=0-1023"`
}

type writeInput struct {
	SessionPath
	PathQuery
	Mode string `query:"mode" pattern:"^0?[0-7]{3}$" doc:"Permission bits in octal. Absent means those of the existing file, or 0644." example:"0755"`
}

type moveInput struct {
	SessionPath
	From    string `query:"from" required:"true" doc:"Path of the file or directory to move." example:"draft.txt"`
	To      string `query:"to" required:"true" doc:"New path. Missing parent directories are created." example:"done/final.txt"`
	Replace bool   `query:"replace" doc:"If true, replace an existing file."`
}

type removeInput struct {
	SessionPath
	PathQuery
	Recursive bool `query:"recursive" doc:"If true, also remove the content of a directory."`
}

type archiveInput struct {
	SessionPath
	PathQuery
	Format string `query:"format" enum:"tar,tgz,zip" default:"tar" doc:"Archive format."`
}

type watchInput struct {
	SessionPath
	Path      string `query:"path" doc:"Path of the directory. Absent means the session's working directory." example:"/workspace"`
	Recursive bool   `query:"recursive" doc:"If true, also watch the directories below."`
}

type uploadInput struct {
	SessionPath
	Path string `query:"path" doc:"Directory for the files. Absent means the session's working directory." example:"data"`
}

// FilesWritten is the body that lists the written files.
type FilesWritten struct {
	Files []cellhold.FileInfo `json:"files" doc:"Files in the order of the form."`
}

// Unpacked is the body that counts what was unpacked from an archive.
type Unpacked struct {
	Entries int   `json:"entries" doc:"Number of files, directories and links." example:"12"`
	Bytes   int64 `json:"bytes" doc:"Total size of the files, in bytes." example:"48213"`
}

func (s *Server) folderRoutes(api huma.API) {
	op := func(id, method, route, summary, text string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: folderPath + route, Tags: []string{tagFiles}, Summary: summary, Description: text}
	}
	register(api, op("list-directory", http.MethodGet, "", "List a directory",
		"Returns one page of the entries of a directory. Read the next page with after=next, until next is absent."), s.listDirectory)
	register(api, op("stat-file", http.MethodGet, "/stat", "Get the attributes of a file",
		"Returns the attributes of the path. For a symbolic link they are those of the link, not of its target."), s.statFile)
	content := op("download-file", http.MethodGet, "/content", "Download a file",
		"Ranges and conditions (If-Range, If-None-Match with the ETag) work. The size is the size at the start of the download, also if the file grows. If the file becomes shorter, the server breaks the connection. The answer is always an attachment of type application/octet-stream. To download a directory, use download-archive. Devices, pipes and sockets are refused.")
	content.Responses = downloadAnswer("The file", anyType)
	register(api, content, s.downloadFile)
	write := op("upload-file", http.MethodPut, "/content", "Upload a file",
		"The body is the file. Its size is limited by the session's disk and the server's --max-upload. Missing parent directories are created. The complete file replaces an existing file or link in one step; if the upload fails, nothing changes.")
	write.RequestBody, write.Responses = upload(anyType), jsonAnswer(api, cellhold.FileInfo{}, "The file")
	register(api, write, s.uploadFile)
	form := op("upload-files", http.MethodPost, "", "Upload files with a form",
		"Each part of the multipart/form-data with a file name becomes a file of that name, without folders. If one file fails, the files before it are kept.")
	form.Responses = jsonAnswer(api, FilesWritten{}, "The files") // the body is described later, because huma would read it
	register(api, form, s.uploadForm)
	mkdir := op("make-directory", http.MethodPost, "/directory", "Create a directory", "Missing parent directories are created too. If the directory exists, the answer is 200.")
	mkdir.DefaultStatus = http.StatusCreated
	register(api, mkdir, s.makeDirectory)
	register(api, op("move-file", http.MethodPost, "/move", "Move or rename a file or directory",
		"Within one file system, the move is one step. /workspace, /tmp and /mnt/data/output are file systems of their own. Between them, the server copies the content and then replaces the target."), s.moveFile)
	remove := op("remove-file", http.MethodDelete, "", "Remove a file or directory", "For a symbolic link, only the link is removed, never its target.")
	remove.DefaultStatus = http.StatusNoContent
	register(api, remove, s.removeFile)
	pack := op("download-archive", http.MethodGet, "/archive", "Download a directory as an archive",
		"The archive has the content of the directory, with names relative to it, or one file. Symbolic links stay links. Devices, pipes and sockets are omitted. If the archive fails halfway, the server breaks the connection.")
	pack.Responses = downloadAnswer("The archive", anyType)
	register(api, pack, s.downloadArchive)
	unpack := op("upload-archive", http.MethodPut, "/archive", "Upload an archive into a directory",
		"The body is a tar, tgz or zip archive; the server detects the format. The archive is unpacked into the directory completely or not at all. The directory is created if needed, and existing files are replaced. The server refuses names and links that lead out of the directory, and hard links, devices, setuid files and duplicate names. It also refuses archives that expand beyond the limits.")
	unpack.RequestBody, unpack.Responses = upload(anyType), jsonAnswer(api, Unpacked{}, "The number and size of the unpacked files")
	register(api, unpack, s.uploadArchive)
	watch := op("watch-directory", http.MethodGet, "/watch", "Watch a directory",
		"Sends server-sent events. The first event is ready: changes after it are reported. The events created, modified and removed have the path; several changes of a file within 50 ms are one event. The event overflow means that changes were missed: list the directory again. The last event is bye, when the server or the sandbox ends the watch. A recursive watch has limits of its directories and entries. Above them the answer is exhausted, and a watch in progress ends after an overflow.")
	watch.Responses = map[string]*huma.Response{"200": {Description: "The changes",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: schemaOf(api, cellhold.FileChange{})}}}}
	register(api, watch, s.watchDirectory)
}

// upload describes a body that is read as a stream.
func upload(mediaType string) *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{mediaType: {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}
}

func uploadForm() *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: &huma.Schema{
		Type:       "object",
		Properties: map[string]*huma.Schema{"file": {Type: "array", Items: &huma.Schema{Type: "string", Format: "binary"}, Description: "The files. Parts with other names are accepted too."}},
	}}}}
}

func jsonAnswer(api huma.API, value any, description string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: description,
		Content: map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, value)}}}}
}

func orWorkingDir(p string) string {
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
	list, more, err := a.ListDir(ctx, orWorkingDir(in.Path), in.After, in.Limit)
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
