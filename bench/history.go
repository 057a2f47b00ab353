package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"cellhold/bench/report"
)

// historyFile returns the path of the history. The repository contains this file.
func historyFile(o options) string { return filepath.Join(o.sources, "reference", "history.json") }

// readHistory returns the history; without the file it is empty.
func readHistory(o options) (report.History, error) {
	f, err := os.Open(historyFile(o))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return report.ReadHistory(f)
}

// full reports whether a run measures everything, and so belongs to the history.
func (o options) full() bool { return !o.quick && len(o.only) == 0 && len(o.with) == 0 }

// extendHistory adds the report of a full run to the history, and writes the file of the history.
func extendHistory(o options, h report.History, r *report.Report) (report.History, error) {
	h = h.With(r.Entry())
	var text bytes.Buffer
	if err := h.WriteJSON(&text); err != nil {
		return h, err
	}
	return h, os.WriteFile(historyFile(o), text.Bytes(), 0o644)
}

// versionOf returns the version of the program, or "".
func versionOf(ctx context.Context, program string) string {
	out, err := exec.CommandContext(ctx, program, "version").Output()
	if words := strings.Fields(string(out)); err == nil && len(words) > 1 { // cellhold VERSION …
		return words[1]
	}
	return ""
}

// commitOf returns the commit of the sources, or "" without git. It adds "+changes" if tracked files differ from the
// commit. Changes in bench/reference and in Markdown files do not count.
func commitOf(ctx context.Context, sources string) string {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", sources}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return ""
	}
	if changed, err := git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)bench/reference", ":(exclude,top,glob)**/*.md"); err != nil || changed != "" {
		commit += "+changes"
	}
	return commit
}
