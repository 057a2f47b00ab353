package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"cellhold/internal/lazy"
)

// watcher processes the output of the tools. It logs everything, reports the steps as progress, and remembers lines that
// explain a failure.
type watcher struct {
	log      io.Writer
	progress Progress
	partial  []byte
	last     string // the last non-empty line
	failure  string // the first error line
	step     string // the current step
	cause    string // the explanation of the first line that matches causes
}

// longestLine bounds the stored part of a line.
const longestLine = 64 << 10

func (w *watcher) Write(p []byte) (int, error) {
	if _, err := w.log.Write(p); err != nil {
		return 0, err
	}
	w.partial = append(w.partial, p...)
	for {
		line, rest, found := bytes.Cut(w.partial, []byte("\n"))
		if !found && len(w.partial) <= longestLine {
			return len(p), nil
		}
		w.line(strings.TrimSpace(string(line)))
		w.partial = append(w.partial[:0], rest...)
	}
}

func (w *watcher) line(line string) {
	if line == "" {
		return
	}
	w.last = line
	if w.failure == "" && (strings.HasPrefix(line, "E: ") || strings.HasPrefix(line, "ERROR: ")) {
		w.failure = line
	}
	if step := stepOf(line); step != "" {
		w.step = step
		w.progress.say("%s", step)
	}
	for _, c := range causes {
		if w.cause == "" && slices.ContainsFunc(c.words, func(word string) bool { return strings.Contains(line, word) }) {
			w.cause = c.sentence
		}
	}
}

var (
	ownStep     = lazy.Regexp(`^==> (.+)$`)
	debianStep  = lazy.Regexp(`^I: ((?:running apt-get update|downloading packages|extracting|installing|creating tarball).*)$`)
	pythonFetch = lazy.Regexp(`^Downloading ([A-Za-z0-9_.]+?)-([0-9][^-]*)-\S+ (\(.*\))`)
)

// stepOf returns the step that a line reports, or "".
func stepOf(line string) string {
	if m := ownStep().FindStringSubmatch(line); m != nil {
		return m[1]
	}
	if m := debianStep().FindStringSubmatch(line); m != nil {
		return strings.TrimSuffix(m[1], "...")
	}
	if m := pythonFetch().FindStringSubmatch(line); m != nil {
		return fmt.Sprintf("downloading %s %s %s", m[1], m[2], m[3])
	}
	return ""
}

// causes maps words of the tools to an explanation. The first match of the earliest line counts.
var causes = []struct {
	words    []string // any of them
	sentence string
}{
	{[]string{"No space left on device"}, "the disk is full"},
	{[]string{"NO_PUBKEY", "no public key", "is not signed"},
		"this host lacks Debian's keys; run: apt-get install debian-archive-keyring"},
	{[]string{"Temporary failure resolving", "Could not resolve", "Failed to fetch", "Unable to connect", "Could not connect", "does not have a Release file"},
		unreachableMirror},
	{[]string{"DO NOT MATCH THE HASHES"}, "the hash of a Python package differs from requirements.lock"},
	{[]string{"NewConnectionError", "Max retries exceeded", "ReadTimeoutError", "SSLError", "Could not find a version"},
		"cannot reach the Python package index that pip is configured for"},
	{[]string{"unshare failed: Operation not permitted", "unshare failed: No space", "newuidmap"},
		"this host does not allow you to create namespaces; build as root"},
}

const unreachableMirror = "cannot reach the Debian mirror named in your apt configuration"

// explain converts a failure of the tools to one sentence.
func (w *watcher) explain(ctx context.Context, err error, sources aptConfig) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("stopped: %w", cause)
	}
	if errors.Is(err, errTooLarge) {
		return err
	}
	log := "the log"
	if f, ok := w.log.(interface{ Name() string }); ok {
		log = f.Name()
	}
	switch {
	case w.cause == unreachableMirror && sources.mirror != "":
		return fmt.Errorf("%s, %s (details in %s)", w.cause, sources.mirror, log)
	case w.cause != "":
		return fmt.Errorf("%s (details in %s)", w.cause, log)
	}
	return fmt.Errorf("failed while %s: %.200s: %w (details in %s)", cmp.Or(w.step, "starting"), cmp.Or(w.failure, w.last), err, log)
}
