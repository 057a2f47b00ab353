// Package paths has the paths of the files of sessions on the host, below the state directory of the server.
package paths

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	"cellhold/internal/record"
)

// Notebooks returns the directory of the notebooks.
func Notebooks(home string) string { return filepath.Join(home, "notebooks") }

// Outputs returns the directory of the output files.
func Outputs(home string) string { return filepath.Join(home, "output") }

// Notebook returns the path of a session's notebook.
func Notebook(home string, r record.Session) string {
	return filepath.Join(Notebooks(home), label(r)+string(r.ID)+".ipynb")
}

// Output returns the directory of a session's output files. An owner's sessions with the same user label share
// one directory. A session without a user has its own.
func Output(home string, r record.Session) string {
	if r.User == "" {
		return filepath.Join(Outputs(home), string(r.ID))
	}
	sum := sha256.Sum256([]byte(r.Owner + "\x00" + r.User))
	return filepath.Join(Outputs(home), label(r)+hex.EncodeToString(sum[:8]))
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
