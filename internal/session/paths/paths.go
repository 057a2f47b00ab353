// Package paths has the paths of the files of sessions on the host.
package paths

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	"cellhold/internal/record"
)

// Notebooks returns the default directory of the notebooks, in the state directory of the server.
func Notebooks(home string) string { return filepath.Join(home, "notebooks") }

// Outputs returns the default directory of the output files, in the state directory of the server.
func Outputs(home string) string { return filepath.Join(home, "output") }

// Notebook returns the path of a session's notebook in the directory of the notebooks.
func Notebook(notebooks string, r record.Session) string {
	return filepath.Join(notebooks, label(r)+string(r.ID)+".ipynb")
}

// Output returns the directory of a session's output files in the directory of all output files. An owner's sessions with the same user label share
// one directory. A session without a user has its own.
func Output(outputs string, r record.Session) string {
	if r.User == "" {
		return filepath.Join(outputs, string(r.ID))
	}
	sum := sha256.Sum256([]byte(r.Owner + "\x00" + r.User))
	return filepath.Join(outputs, label(r)+hex.EncodeToString(sum[:8]))
}

// label converts the user label to a text that is safe in file names on every system. With it, people recognise the
// file. The text can be empty, and two users can have the same text.
func label(r record.Session) string {
	keep := func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' {
			return c
		}
		return -1
	}
	text := strings.Map(keep, r.User)
	if text == "" {
		return ""
	}
	return text[:min(len(text), 40)] + "-"
}
