package jupyter

import (
	"cmp"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/session/terms"
)

// note is a session of Jupyter: a notebook or a console that uses a kernel. The metadata of the kernel's session has the
// notes as JSON, so they survive a restart of the server.
type note struct {
	ID     string            `json:"id"`
	Kernel cellhold.KernelID `json:"kernel,omitempty"` // empty: the first kernel of the session
	Path   string            `json:"path"`
	Name   *string           `json:"name,omitempty"` // nil: the last part of the path
	Type   string            `json:"type"`
}

// parseNotes reads the notes of a session. A caller can write any text there. If the text is not a list of notes, the
// session has no notes.
func parseNotes(text string) []note {
	var list []note
	if json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	return list
}

// formatNotes writes the notes of a session.
func formatNotes(list []note) (string, error) {
	if list == nil {
		list = []note{}
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // otherwise each & of a path takes six bytes
	if err := e.Encode(list); err != nil {
		return "", err
	}
	text := strings.TrimSuffix(b.String(), "\n")
	if len(text) > terms.MaxMeta {
		return "", cellhold.Errorf(cellhold.Invalid, "The paths and names of the sessions of this kernel have %d bytes, with their ids; the limit is %d bytes. Use shorter paths, or another kernel.", len(text), terms.MaxMeta)
	}
	return text, nil
}

// title returns the name of a session of Jupyter.
func (n note) title() string {
	if n.Name == nil {
		return path.Base(n.Path)
	}
	return *n.Name
}

// rename sets the name of a session of Jupyter. The metadata has little space. So the note stores no name that is the
// last part of its path.
func (n *note) rename(name string) {
	if n.Name = &name; name == path.Base(n.Path) {
		n.Name = nil
	}
}

// notesOf returns the notes of a kernel.
func notesOf(k kernel) []note {
	other := func(n note) bool { return cmp.Or(n.Kernel, k.info.Kernels[0].ID) != k.state.ID }
	return slices.DeleteFunc(parseNotes(k.info.Meta[noteName]), other)
}

// put adds a note, or replaces the note with its id.
func put(list []note, n note) []note {
	if i := slices.IndexFunc(list, func(x note) bool { return x.ID == n.ID }); i >= 0 {
		list[i] = n
		return list
	}
	return append(list, n)
}

// drop removes a note.
func drop(list []note, id string) []note {
	return slices.DeleteFunc(list, func(x note) bool { return x.ID == id })
}
