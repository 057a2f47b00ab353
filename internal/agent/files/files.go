// Package files serves the files of a guest over HTTP. It lists, reads, writes, moves, removes, archives, unpacks and
// watches files. Package guestapi lists the routes.
//
// The package checks no rights itself, so it must run in a process of the kernels' user. A request then has only the
// rights of user code, even if user code changes a path during the request. A deputy process has this user; see package
// deputy.
//
// The package reads and creates only regular files, directories and symbolic links. It keeps no file in memory. A file
// that it writes appears completely or not at all.
//
// It has no locks: the requests share no state.
package files

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"syscall"

	"cellhold"
	"cellhold/internal/guestapi"
)

// Handler returns a handler of all routes. A relative path in a request is relative to base.
func Handler(base string) http.Handler {
	h := &handler{base: base}
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /v1/files":            h.list,
		"DELETE /v1/files":         h.remove,
		"GET /v1/files/stat":       h.stat,
		"GET /v1/files/content":    h.get,
		"PUT /v1/files/content":    h.put,
		"POST /v1/files/directory": h.mkdir,
		"POST /v1/files/move":      h.move,
		"GET /v1/files/archive":    h.pack,
		"PUT /v1/files/archive":    h.unpack,
		"GET /v1/files/watch":      h.watch,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := serve(w, r); err != nil {
				refuse(w, err)
			}
		})
	}
	return mux
}

type handler struct{ base string }

func answer(w http.ResponseWriter, status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // fails only when the host has disconnected
	return nil
}

// statuses maps kinds of errors to HTTP statuses. An error of another kind is a failure of the agent, with status 500.
var statuses = map[cellhold.Kind]int{
	cellhold.Invalid:   http.StatusBadRequest,
	cellhold.NotFound:  http.StatusNotFound,
	cellhold.Conflict:  http.StatusConflict,
	cellhold.Denied:    http.StatusForbidden,
	cellhold.Exhausted: http.StatusRequestEntityTooLarge,
}

func refuse(w http.ResponseWriter, err error) {
	known := explain(err)
	status, ok := statuses[known.Kind]
	if !ok {
		status = http.StatusInternalServerError
	}
	_ = answer(w, status, guestapi.Problem{Error: known.Message})
}

// explain converts an error of the operating system to a cellhold.Error. The message does not contain the path: the
// caller knows the path, and a path can contain any text.
func explain(err error) *cellhold.Error {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return e
	}
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	kind, message := cellhold.Internal, "The file operation failed in the sandbox: "+plain(err)+"."
	switch {
	case is(fs.ErrNotExist, syscall.ENOTDIR):
		kind, message = cellhold.NotFound, "There is no file or directory at this path."
	case is(syscall.EROFS):
		kind, message = cellhold.Denied, "This path is read-only. Write below "+guestapi.WorkDir+", /tmp, the home directory or "+guestapi.OutputDir+"."
	case is(fs.ErrPermission):
		kind, message = cellhold.Denied, "The session's code has no permission for this path, and the files API has the same permissions."
	case is(syscall.ENXIO, syscall.ENODEV):
		kind, message = cellhold.Denied, "This path is a device, a pipe or a socket, which cannot be opened as a file."
	case is(syscall.ENOTEMPTY):
		kind, message = cellhold.Conflict, "The directory is not empty."
	case is(fs.ErrExist, syscall.EISDIR):
		kind, message = cellhold.Conflict, "There is a file or a directory at this path already."
	case is(syscall.EBUSY):
		kind, message = cellhold.Conflict, "The path is in use."
	case is(syscall.ENOSPC, syscall.EDQUOT):
		kind, message = cellhold.Exhausted, "The disk is full. Remove files in the session, or create a session with a higher disk limit."
	case is(syscall.EFBIG):
		kind, message = cellhold.Exhausted, "The file is larger than the file system allows."
	case is(syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM):
		kind, message = cellhold.Exhausted, "The sandbox has too little memory or too many open files. Close files or end processes in the session, then retry."
	case is(syscall.ELOOP):
		kind, message = cellhold.Invalid, "The path has too many symbolic links, or a symbolic link where a link is not allowed."
	case is(syscall.ENAMETOOLONG, syscall.EINVAL):
		kind, message = cellhold.Invalid, "The file system does not accept this path."
	case is(io.ErrUnexpectedEOF):
		kind, message = cellhold.Invalid, "The content ended before all its bytes arrived. Send the content again."
	}
	return cellhold.Wrap(kind, err, "%s", message)
}

// plain returns the text of the system error number in an error, because this text contains no path. Without a number,
// it returns "unexpected".
func plain(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error()
	}
	return "unexpected"
}

// number reads a numeric parameter. It returns absent if the parameter is missing.
func number(r *http.Request, name string, absent int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, cellhold.Errorf(cellhold.Invalid, "Invalid %s %.40q: use a whole number of at least 0.", name, text)
	}
	return n, nil
}
