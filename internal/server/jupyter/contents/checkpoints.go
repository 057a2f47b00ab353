package contents

import (
	"context"
	"net/http"
	"path"
	"strings"

	"cellhold"
)

// checkpointID is the id of the only checkpoint of a file.
const checkpointID = "checkpoint"

// checkpoint is a checkpoint as Jupyter shows it.
type checkpoint struct {
	ID           string `json:"id"`
	LastModified string `json:"last_modified"`
}

// checkpointOf reports whether a request is for a checkpoint, and returns the path of the file and the id. A directory can
// be called checkpoints: a request with a type or a content is for its files.
func checkpointOf(r *http.Request) (file, id string, ok bool) {
	p := strings.Trim(r.PathValue("path"), "/")
	file, last := path.Split(p)
	file = strings.TrimSuffix(file, "/")
	query := r.URL.Query()
	switch {
	case query.Has("type") || query.Has("content") || query.Has("format") || file == "":
		return "", "", false
	case last == "checkpoints" && r.Method != http.MethodDelete:
		return file, "", true
	case last == checkpointID && strings.HasSuffix(file, "/checkpoints") && r.Method != http.MethodGet:
		return strings.TrimSuffix(file, "/checkpoints"), checkpointID, true
	}
	return "", "", false
}

// checkpointPlace returns the place of a file's checkpoint, which is where Jupyter Server has it.
func checkpointPlace(p place) place {
	end := path.Ext(p.name())
	return p.dir().child(".ipynb_checkpoints").child(strings.TrimSuffix(p.name(), end) + "-checkpoint" + end)
}

func checkpointModel(f cellhold.FileInfo) checkpoint {
	return checkpoint{ID: checkpointID, LastModified: timeText(f.Modified)}
}

func (s *Server) listCheckpoints(w http.ResponseWriter, r *http.Request, caller, file string) error {
	p, err := toRead(file)
	if err != nil {
		return err
	}
	if p.inside == "" {
		write(w, http.StatusOK, []checkpoint{})
		return nil
	}
	return s.within(r.Context(), caller, p, func(a entered) error {
		list := []checkpoint{}
		f, err := stat(r.Context(), a, checkpointPlace(p))
		switch {
		case err == nil:
			list = append(list, checkpointModel(f))
		case cellhold.KindOf(err) != cellhold.NotFound:
			return err
		}
		write(w, http.StatusOK, list)
		return nil
	})
}

// postCheckpoint copies a file to its checkpoint. With an id, it restores the file from the checkpoint.
func (s *Server) postCheckpoint(w http.ResponseWriter, r *http.Request, caller, file, id string) error {
	p, err := toChange(file)
	if err != nil {
		return err
	}
	return s.within(r.Context(), caller, p, func(a entered) error {
		saved := checkpointPlace(p)
		if id == "" {
			if err := copyFile(r.Context(), a, p, saved); err != nil {
				return missingAs(err, notFound(p))
			}
			f, err := stat(r.Context(), a, saved)
			if err != nil {
				return err
			}
			w.Header().Set("Location", location(r, p.String())+"/checkpoints/"+checkpointID)
			write(w, http.StatusCreated, checkpointModel(f))
			return nil
		}
		if err := copyFile(r.Context(), a, saved, p); err != nil {
			return missingAs(err, noCheckpoint(p))
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

func (s *Server) deleteCheckpoint(w http.ResponseWriter, r *http.Request, caller, file, _ string) error {
	p, err := toChange(file)
	if err != nil {
		return err
	}
	return s.within(r.Context(), caller, p, func(a entered) error {
		if err := a.RemoveFile(r.Context(), checkpointPlace(p).guest(), false); err != nil {
			return missingAs(err, noCheckpoint(p))
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// moveCheckpoint moves the checkpoint of a renamed file, if it has one.
func moveCheckpoint(ctx context.Context, a entered, from, to place) error {
	_, err := a.MoveFile(ctx, checkpointPlace(from).guest(), checkpointPlace(to).guest(), true)
	return unlessMissing(err)
}

// removeCheckpoint removes the checkpoint of a removed file, if it has one.
func removeCheckpoint(ctx context.Context, a entered, p place) error {
	return unlessMissing(a.RemoveFile(ctx, checkpointPlace(p).guest(), false))
}

// unlessMissing returns the error of an action on a checkpoint. A file without a checkpoint is no error. Neither is a name
// that is too long for one.
func unlessMissing(err error) error {
	if kind := cellhold.KindOf(err); err != nil && (kind == cellhold.NotFound || kind == cellhold.Invalid) {
		return nil
	}
	return err
}

func noCheckpoint(p place) error {
	return cellhold.Errorf(cellhold.NotFound, "Checkpoint does not exist: %.400s@%s", p, checkpointID)
}

// missingAs returns an error with the path that the client knows in place of the error of a missing file.
func missingAs(err, as error) error {
	if cellhold.KindOf(err) == cellhold.NotFound {
		return cellhold.Wrap(cellhold.NotFound, err, "%s", messageOf(as))
	}
	return err
}

// copyFile copies a file within a sandbox. It replaces a file at the target.
func copyFile(ctx context.Context, a entered, from, to place) error {
	if _, err := stat(ctx, a, from); err != nil { // refuses a directory and a device
		return err
	}
	f, body, err := open(ctx, a, from)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = a.WriteFile(ctx, to.guest(), 0, body, f.Size)
	return noSpace(err)
}
