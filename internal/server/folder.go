package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"cellhold"
	"cellhold/internal/server/door"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	folderPath = "/v1/sessions/{id}/files"
	// maxParts bounds the files of one form.
	maxParts = 1000
	anyType  = "application/octet-stream"
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

// longBody reports whether a request brings a file. Its size is bounded by the session.
func longBody(r *http.Request) bool {
	if !strings.HasPrefix(r.URL.Path, "/v1/sessions/") {
		return false
	}
	switch {
	case r.Method == http.MethodPut:
		return strings.HasSuffix(r.URL.Path, "/files/content") || strings.HasSuffix(r.URL.Path, "/files/archive")
	case r.Method == http.MethodPost:
		return strings.HasSuffix(r.URL.Path, "/files")
	}
	return false
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

// stream answers with what f writes, once the session is found. f's error is told if nothing is
// written yet; else f panics.
func (s *Server) stream(ctx context.Context, id cellhold.SessionID, f func(http.ResponseWriter, *http.Request, *session.Session) error) (*streamOutput, error) {
	sess, err := s.session(ctx, id)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		if err := f(w, r, sess); err != nil {
			p := s.problem(r.Context(), err)
			text, _ := json.Marshal(p) // a struct of texts and numbers
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			w.Header().Set("Content-Type", door.ProblemType)
			w.WriteHeader(p.Status)
			_, _ = w.Write(text) // fails only when the caller has gone
			door.Drain(r)
		}
	}}, nil
}

func orWorkspace(p string) string {
	if p == "" {
		return "."
	}
	return p
}

func (s *Server) listDirectory(ctx context.Context, in *listDirInput) (*directoryOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list, more, err := sess.ListDir(ctx, orWorkspace(in.Path), in.After, in.Limit)
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
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	info, err := sess.StatFile(ctx, in.Path, false)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &fileOutput{Status: http.StatusOK, Body: info}, nil
}

func (s *Server) makeDirectory(ctx context.Context, in *pathInput) (*fileOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	info, made, err := sess.MakeDir(ctx, in.Path)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	if !made {
		return &fileOutput{Status: http.StatusOK, Body: info}, nil
	}
	return &fileOutput{Status: http.StatusCreated, Body: info}, nil
}

func (s *Server) moveFile(ctx context.Context, in *moveInput) (*fileOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	info, err := sess.MoveFile(ctx, in.From, in.To, in.Replace)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &fileOutput{Status: http.StatusOK, Body: info}, nil
}

func (s *Server) removeFile(ctx context.Context, in *removeInput) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	if err := sess.RemoveFile(ctx, in.Path, in.Recursive); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}

func (s *Server) downloadFile(ctx context.Context, in *contentInput) (*streamOutput, error) {
	return s.stream(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, sess *session.Session) error {
		info, err := sess.StatFile(r.Context(), in.Path, true)
		if err != nil {
			return err
		}
		switch info.Type {
		case cellhold.FileDirectory:
			return cellhold.Errorf(cellhold.Conflict, "This is a directory; download it as an archive.")
		case cellhold.FileRegular:
		default:
			return cellhold.Errorf(cellhold.Denied, "This is no regular file but a device, a pipe or a socket.")
		}
		if strings.Contains(r.Header.Get("Range"), ",") {
			r.Header.Del("Range") // each of many ranges would be a request to the sandbox
		}
		content := &remoteFile{ctx: r.Context(), session: sess, info: info}
		defer content.close()
		if r.Method == http.MethodGet && r.Header.Get("Range") == "" { // while an error can still be told
			if err := content.try(); err != nil {
				return err
			}
		}
		asAttachment(w.Header(), path.Base(info.Exact()))
		w.Header().Set("ETag", `"`+info.Version+`"`)
		http.ServeContent(w, r, "", info.Modified, content)
		if content.err != nil {
			panic(http.ErrAbortHandler)
		}
		return nil
	})
}

// asAttachment sets what keeps a browser from showing what untrusted code wrote.
func asAttachment(h http.Header, name string) {
	h.Set("Content-Type", anyType) // ServeContent would guess, and guess text/html
	h.Set("Content-Disposition", attachment(name))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
}

// remoteFile is a file of the sandbox as http.ServeContent wants it. Only what is asked for is read.
type remoteFile struct {
	ctx     context.Context
	session *session.Session
	info    cellhold.FileInfo

	at, openAt int64
	open       io.ReadCloser
	err        error // of reading
}

// try opens the file where reading usually begins.
func (f *remoteFile) try() error {
	r, err := f.session.OpenGuestFile(f.ctx, f.info, 0, f.info.Size)
	f.open, f.openAt = r, 0
	return err
}

// Seek notes where to read on.
func (f *remoteFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.info.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	f.at = offset
	return offset, nil
}

// Read reads on, and opens the file anew when that is elsewhere.
func (f *remoteFile) Read(b []byte) (int, error) {
	if f.at >= f.info.Size {
		return 0, io.EOF
	}
	if f.open == nil || f.openAt != f.at {
		f.close()
		r, err := f.session.OpenGuestFile(f.ctx, f.info, f.at, f.info.Size-f.at)
		if err != nil {
			f.err = err
			return 0, err
		}
		f.open, f.openAt = r, f.at
	}
	n, err := f.open.Read(b)
	f.at += int64(n)
	f.openAt = f.at
	if err == io.EOF && f.at < f.info.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

func (f *remoteFile) close() {
	if f.open != nil {
		f.open.Close()
		f.open = nil
	}
}

func (s *Server) uploadFile(ctx context.Context, in *writeInput) (*streamOutput, error) {
	return s.stream(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, sess *session.Session) error {
		mode, err := strconv.ParseUint("0"+in.Mode, 8, 32) // its pattern is checked
		if err != nil {
			return cellhold.Wrap(cellhold.Invalid, err, "The mode is not octal.")
		}
		info, err := sess.WriteFile(r.Context(), in.Path, uint32(mode), door.LongBody(r), r.ContentLength)
		if err != nil {
			return err
		}
		door.WriteJSON(w, http.StatusOK, "application/json", info)
		return nil
	})
}

func (s *Server) uploadForm(ctx context.Context, in *uploadInput) (*streamOutput, error) {
	return s.stream(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, sess *session.Session) error {
		r.Body = io.NopCloser(door.LongBody(r))
		form, err := r.MultipartReader()
		if err != nil {
			return cellhold.Wrap(cellhold.Invalid, err, "The body must be multipart/form-data; to send one file as it is, PUT it to /files/content.")
		}
		done := FilesWritten{Files: []cellhold.FileInfo{}}
		for {
			part, err := form.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				return cellhold.Wrap(cellhold.Invalid, err, "The form is not valid, or broke off.")
			}
			info, err := writePart(r.Context(), sess, orWorkspace(in.Path), part, len(done.Files))
			if err != nil {
				return err
			}
			if info.Path != "" {
				done.Files = append(done.Files, info)
			}
		}
		door.WriteJSON(w, http.StatusOK, "application/json", done)
		return nil
	})
}

// writePart writes one file of a form, or nothing when the part is none.
func writePart(ctx context.Context, sess *session.Session, dir string, part *multipart.Part, before int) (cellhold.FileInfo, error) {
	name := part.FileName()
	if name == "" {
		return cellhold.FileInfo{}, nil
	}
	if before >= maxParts {
		return cellhold.FileInfo{}, cellhold.Errorf(cellhold.Invalid, "A form may have %d files; send an archive.", maxParts)
	}
	if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return cellhold.FileInfo{}, cellhold.Errorf(cellhold.Invalid, "A file of the form has a name that no file can have.")
	}
	return sess.WriteFile(ctx, dir+"/"+name, 0, part, -1)
}

func (s *Server) downloadArchive(ctx context.Context, in *archiveInput) (*streamOutput, error) {
	return s.stream(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, sess *session.Session) error {
		archive, err := sess.PackDir(r.Context(), in.Path, in.Format)
		if err != nil {
			return err
		}
		defer archive.Close()
		name := path.Base("/" + strings.TrimSuffix(in.Path, "/"))
		if name == "." || name == "/" {
			name = "workspace"
		}
		suffix := map[string]string{"tgz": ".tar.gz", "zip": ".zip"}[in.Format]
		if suffix == "" {
			suffix = ".tar"
		}
		asAttachment(w.Header(), name+suffix)
		if _, err := io.Copy(w, archive); err != nil {
			s.problem(r.Context(), err) // for the log
			panic(http.ErrAbortHandler)
		}
		return nil
	})
}

func (s *Server) uploadArchive(ctx context.Context, in *pathInput) (*streamOutput, error) {
	return s.stream(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, sess *session.Session) error {
		entries, size, err := sess.UnpackDir(r.Context(), in.Path, door.LongBody(r), r.ContentLength)
		if err != nil {
			return err
		}
		door.WriteJSON(w, http.StatusOK, "application/json", Unpacked{Entries: entries, Bytes: size})
		return nil
	})
}

func (s *Server) watchDirectory(ctx context.Context, in *watchInput) (*streamOutput, error) {
	return s.stream(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, sess *session.Session) error {
		ctx, leave := s.waiters.Enter(r.Context())
		ctx, cancel := context.WithCancel(ctx)
		out := &eventWriter{w: w, control: http.NewResponseController(w)}
		var beat sync.WaitGroup
		defer func() { cancel(); leave(); beat.Wait() }()
		ready := false
		for change, err := range sess.WatchDir(ctx, orWorkspace(in.Path), in.Recursive) {
			switch {
			case err != nil && !ready:
				return err
			case err != nil:
				s.closeStream(ctx, r, out, 0, err)
				return nil
			case !ready:
				ready = true
				if out.open() != nil || out.write("event: ready\ndata: {}\n\n") != nil {
					return nil
				}
				beat.Go(func() {
					if out.beat(ctx, keepAlive) != nil {
						cancel() // nobody reads: stop watching
					}
				})
				continue
			}
			if writeChange(out, change) != nil {
				return nil
			}
		}
		return nil
	})
}

func writeChange(out *eventWriter, c cellhold.FileChange) error {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("a change: %w", err)
	}
	return out.write("event: %s\ndata: %s\n\n", plainWord(string(c.Type)), text)
}
