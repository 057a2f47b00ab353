package script

import (
	"cellhold"
	"cellhold/client"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hostile is a server whose sandbox sends arbitrary answers.
type hostile struct {
	entries func(folder, after string) (list []string, next string) // names in a folder
	content func() io.Reader                                        // of each file; with nil the server never answers
	listed  int
	read    int
}

// RoundTrip answers one request.
func (h *hostile) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, body io.Reader) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
	}
	q := r.URL.Query()
	switch path.Base(r.URL.Path) {
	case "content":
		h.read++
		if h.content == nil {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return answer(200, h.content())
	case "files":
		h.listed++
		var page struct {
			Entries []cellhold.FileInfo `json:"entries"`
			Next    string              `json:"next"`
		}
		var names []string
		if names, page.Next = h.entries(q.Get("path"), q.Get("after")); names == nil {
			return answer(404, strings.NewReader(`{"kind": "not_found"}`))
		}
		for _, name := range names {
			page.Entries = append(page.Entries, cellhold.FileInfo{Path: path.Join("/workspace", name), Type: cellhold.FileRegular, Version: "v"})
		}
		text, err := json.Marshal(page)
		if err != nil {
			return nil, err
		}
		return answer(200, strings.NewReader(string(text)))
	}
	return answer(404, strings.NewReader(""))
}

// names returns count file names.
func names(count int, ending string) []string {
	var all []string
	for i := range count {
		all = append(all, fmt.Sprintf("f%05d%s", i, ending))
	}
	return all
}

// back returns a script with its files on the hostile server, its results, and its printed notes.
func back(t *testing.T, h *hostile, bound int64) (*Script, *results, *strings.Builder) {
	t.Helper()
	s, _, said := showing(t)
	c, err := client.New(client.Options{URL: "http://localhost", HTTP: &http.Client{Transport: h}})
	if err != nil {
		t.Fatal(err)
	}
	place := &destination{dir: filepath.Dir(s.figures.stem), name: "plot"}
	run := &Script{Source: &source{path: "s.py"}, Printer: s, Dest: place, client: c, session: "s1", MaxBytes: bound}
	return run, &results{client: c, session: "s1", printer: s, dest: place, limit: bound, left: bound}, said
}

func TestAnEndlessFolderIsReadUpToTheLimit(t *testing.T) {
	h := &hostile{entries: func(_, after string) ([]string, string) { return names(1000, ".csv"), after + "x" }}
	_, r, _ := back(t, h, 1<<20)
	if _, more, err := r.list(t.Context(), ""); err != nil || !more || h.listed != maxResults/1000 {
		t.Errorf("got %d pages, more %v, error %v; want %d pages, more true, no error", h.listed, more, err, maxResults/1000)
	}
}

func TestTheReceivedSizeOfAFileCountsTowardsTheLimit(t *testing.T) {
	const bound = 1 << 20
	h := &hostile{content: func() io.Reader { return strings.NewReader(strings.Repeat("x", bound*2/3)) }}
	h.entries = func(folder, _ string) ([]string, string) {
		if folder == "" {
			return names(500, ".csv"), ""
		}
		return nil, ""
	}
	s, r, said := back(t, h, bound) // each file claims to be empty
	if err := s.bringBack(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, r.dest.dir); h.read != 2 || len(left) != 1 || r.lost != 499 {
		t.Errorf("read %d files, kept %d, refused %d; want 2, 1 and 499", h.read, len(left), r.lost)
	}
	if want := `not kept: "f00001.csv": the script's files exceed the limit of 1.0 MiB`; !strings.Contains(said.String(), want) {
		t.Errorf("got the notes %.300s, want %q", said, want)
	}
}

// tree returns the files of a folder.
func tree(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEndlessFiguresAreReadUpToTheLimit(t *testing.T) {
	for _, test := range []struct {
		ending           string
		read, kept, list int
		says             string
	}{
		{".png", maxFigures + 1, maxFigures, 1, "at least one figure is not saved"},
		{".txt", 0, 0, 1, "further figures are not saved"}, // files that are not figures
	} {
		h := &hostile{content: func() io.Reader { return strings.NewReader("x") }}
		h.entries = func(_, after string) ([]string, string) { return names(1000, test.ending), after + "x" }
		s, r, said := back(t, h, 1<<20)
		if err := s.figures(t.Context()); err != nil {
			t.Fatal(err)
		}
		if kept := tree(t, r.dest.dir); h.read != test.read || len(kept) != test.kept || h.listed != test.list || !strings.Contains(said.String(), test.says) {
			t.Errorf("%s: got %d pages, %d files read, %d kept and the notes %.200s; want %d, %d, %d and %q", test.ending, h.listed, h.read, len(kept), said, test.list, test.read, test.kept, test.says)
		}
	}
}

// endless is a figure that claims to be empty and never ends.
type endless struct{ given *int64 }

func (e endless) Read(p []byte) (int, error) {
	*e.given += int64(len(p))
	return len(p), nil
}

func TestAnEndlessFigureIsNotSaved(t *testing.T) {
	var given int64
	h := &hostile{content: func() io.Reader { return endless{&given} }}
	h.entries = func(_, _ string) ([]string, string) { return names(50, ".png"), "" }
	s, r, said := back(t, h, 1<<20)
	s.Printer.figures.bytes = maxFigureBytes - 1<<20 // 1 MiB is left
	if err := s.figures(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kept := tree(t, r.dest.dir); len(kept) != 0 || h.read != 1 || given > 2<<20 || strings.Count(said.String(), "not saved") != 1 {
		t.Errorf("kept %d figures, read %d with %d bytes, and printed %s; want 0, 1 with at most %d bytes, and one note", len(kept), h.read, given, said, 2<<20)
	}
}

func TestWaitingForFilesEndsAtADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hostile{entries: func(folder, _ string) ([]string, string) {
			if folder == "" {
				return names(3, ".csv"), ""
			}
			return nil, ""
		}}
		s, r, _ := back(t, h, 1<<30)
		start := time.Now()
		err := s.bringBack(t.Context(), r)
		if err == nil || !strings.Contains(err.Error(), "the limit of 13m32s") || time.Since(start) != 13*time.Minute+32*time.Second {
			t.Errorf("got %v after %v, want an error with \"the limit of 13m32s\" after 13m32s", err, time.Since(start))
		}
	})
}
