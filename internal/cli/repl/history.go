package repl

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"cellhold/internal/cli/console"
)

const (
	// maxEntries is the limit of the entries that are kept between two runs.
	maxEntries = 2000
	// maxEntry is the limit of one entry in bytes. Longer code is in a file.
	maxEntry = 64 << 10
)

// history is the code of earlier prompts, the oldest first. A file keeps it between two runs: each line is one entry in
// JSON, because an entry can have several lines.
type history struct {
	entries []string
	file    *os.File // nil if the history cannot be kept
}

// openHistory reads the history of earlier runs. If the file cannot be used, the history lasts as long as the program.
func openHistory(getenv func(string) string) *history {
	h := &history{}
	path := historyPath(getenv)
	if path == "" || os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return h
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return h
	}
	if f.Chmod(0o600) != nil { // code can have secrets
		_ = f.Close()
		return h
	}
	h.file = f
	lines := 0
	for s := scanner(f); s.Scan(); lines++ {
		var text string
		if json.Unmarshal(s.Bytes(), &text) == nil {
			h.add(text)
		}
	}
	if lines > 2*maxEntries {
		h.shorten(path)
	}
	return h
}

func scanner(f *os.File) *bufio.Scanner {
	s := bufio.NewScanner(f)
	s.Buffer(nil, 8*maxEntry)
	return s
}

// historyPath returns the path of the file, or "" if the user has no home.
func historyPath(getenv func(string) string) string {
	dir := getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home := getenv("HOME")
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "cellhold", "repl-history.jsonl")
}

// shorten replaces the file by one with the newest entries.
func (h *history) shorten(path string) {
	part, err := os.CreateTemp(filepath.Dir(path), "repl-history-*")
	if err != nil {
		return
	}
	w := bufio.NewWriter(part)
	for _, text := range h.entries {
		line, _ := json.Marshal(text) // a text can always be encoded
		_, _ = w.Write(append(line, '\n'))
	}
	if errors.Join(w.Flush(), part.Close(), os.Rename(part.Name(), path)) != nil {
		_ = os.Remove(part.Name())
		return
	}
	if f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0o600); err == nil {
		_ = h.file.Close()
		h.file = f
	}
}

// add adds code without writing it to the file. It leaves out code that could change the screen when the editor shows it:
// code of the session comes from other callers.
func (h *history) add(code string) {
	odd := func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' || console.ChangesDirection(r)
	}
	code = strings.TrimRight(code, " \t\n")
	if code == "" || len(code) > maxEntry || strings.ContainsFunc(code, odd) || len(h.entries) > 0 && h.entries[len(h.entries)-1] == code {
		return
	}
	h.entries = append(h.entries, code)
	h.entries = h.entries[max(len(h.entries)-maxEntries, 0):]
}

func (h *history) close() {
	if h.file != nil {
		_ = h.file.Close()
	}
}

// Write adds code that the user typed. It is part of the interface of readline's histories.
func (h *history) Write(code string) (int, error) {
	before := len(h.entries)
	h.add(code)
	if h.file != nil && (len(h.entries) != before || before == maxEntries) {
		line, _ := json.Marshal(h.entries[len(h.entries)-1]) // a text can always be encoded
		_, _ = h.file.Write(append(line, '\n'))              // without the file, the history lasts as long as the program
	}
	return len(h.entries), nil
}

// GetLine returns an entry.
func (h *history) GetLine(at int) (string, error) {
	if at < 0 || at >= len(h.entries) {
		return "", fmt.Errorf("history has no entry %d", at)
	}
	return h.entries[at], nil
}

// Len returns the number of entries.
func (h *history) Len() int { return len(h.entries) }

// Dump returns all entries.
func (h *history) Dump() any { return h.entries }
