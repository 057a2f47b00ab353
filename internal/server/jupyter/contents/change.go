package contents

import (
	"net/http"

	"cellhold"
)

// Patch renames a file or a directory within a session.
func (s *Server) Patch(w http.ResponseWriter, r *http.Request, caller string) error {
	from, err := toChange(r.PathValue("path"))
	if err != nil {
		return err
	}
	var d document
	if err := decode(r, &d); err != nil {
		return err
	}
	if d.Path == "" {
		return cellhold.Errorf(cellhold.Invalid, "Missing field in JSON data: path")
	}
	to, err := toChange(d.Path)
	if err != nil {
		return err
	}
	source, err := s.folder(r.Context(), caller, from)
	if err != nil {
		return err
	}
	if target, err := s.folder(r.Context(), caller, to); err != nil {
		return err
	} else if source.ID != target.ID {
		return cellhold.Errorf(cellhold.Invalid, "A file cannot be moved to another session: copy it, and then delete it.")
	}
	return s.within(r.Context(), caller, from, func(a entered) error { return s.rename(w, r, a, from, to) })
}

func (s *Server) rename(w http.ResponseWriter, r *http.Request, a entered, from, to place) error {
	if from.inside == to.inside {
		f, err := stat(r.Context(), a, to)
		if err != nil {
			return err
		}
		answer(w, r, http.StatusOK, modelOf(to, f))
		return nil
	}
	f, err := a.MoveFile(r.Context(), from.guest(), to.guest(), false)
	switch cellhold.KindOf(err) {
	case cellhold.NotFound:
		return cellhold.Wrap(cellhold.NotFound, err, "%s", notFound(from))
	case cellhold.Conflict:
		return cellhold.Wrap(cellhold.Conflict, err, "%.400s cannot be renamed to %.400s: %s", from, to, messageOf(err))
	}
	if err != nil {
		return noSpace(err)
	}
	if err := moveCheckpoint(r.Context(), a, from, to); err != nil {
		return err
	}
	answer(w, r, http.StatusOK, modelOf(to, f))
	return nil
}

// Delete removes a file, or a directory with its content, or a checkpoint. Clients ask before they remove a directory.
func (s *Server) Delete(w http.ResponseWriter, r *http.Request, caller string) error {
	if file, id, ok := checkpointOf(r); ok {
		return s.deleteCheckpoint(w, r, caller, file, id)
	}
	p, err := toChange(r.PathValue("path"))
	if err != nil {
		return err
	}
	return s.within(r.Context(), caller, p, func(a entered) error {
		err := a.RemoveFile(r.Context(), p.guest(), true)
		if cellhold.KindOf(err) == cellhold.NotFound {
			return cellhold.Wrap(cellhold.NotFound, err, "%s", notFound(p))
		}
		if err == nil {
			err = removeCheckpoint(r.Context(), a, p)
		}
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}
