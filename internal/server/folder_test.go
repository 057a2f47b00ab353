package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cellhold"
	"cellhold/internal/registry"
)

func TestFilesOfASessionCanBeWrittenReadMovedAndDeleted(t *testing.T) {
	h := newHarness(t)
	files := h.create() + "/files"
	big := strings.Repeat("0123456789", 1<<20) // above the limit of other bodies
	h.do(200, "PUT", files+"/content?path=a/b%FF", big)
	a := h.do(200, "GET", files+"/content?path=a/b%FF", "")
	if string(a.body) != big || a.Header.Get("Content-Type") != "application/octet-stream" || a.Header.Get("Content-Security-Policy") != "sandbox; default-src 'none'" {
		t.Errorf("got %d bytes with %v, want the uploaded bytes as application/octet-stream with a Content-Security-Policy", len(a.body), a.Header)
	}
	var list Directory
	h.do(200, "GET", files+"?path=a", "").decode(t, &list)
	if len(list.Entries) != 1 || !strings.HasSuffix(list.Entries[0].Exact(), "/a/b\xff") || list.Entries[0].Size != int64(len(big)) {
		t.Errorf("got the listing %+v, want one file a/b\\xff of %d bytes", list, len(big))
	}
	req := h.request("GET", files+"/content?path=a/b%FF", "")
	req.Header.Set("Range", "bytes=10485755-")
	if a := h.send(req); a.StatusCode != 206 || string(a.body) != "56789" {
		t.Errorf("a range: got status %d with %q, want 206 with 56789", a.StatusCode, a.body)
	}
	h.do(201, "POST", files+"/directory?path=d/e", "")
	h.do(200, "POST", files+"/directory?path=d/e", "")
	h.do(409, "DELETE", files+"?path=d", "")
	h.do(204, "DELETE", files+"?path=d&recursive=true", "")
	h.do(404, "GET", files+"/stat?path=d", "")
	h.do(200, "POST", files+"/move?from=a/b%FF&to=c", "")
	h.do(409, "GET", files+"/content?path=a", "")
	h.do(422, "GET", files+"/content?path=../x", "")
	h.do(422, "PUT", files+"/content?path=x&mode=4755", "x")
	h.do(422, "GET", files+"/archive?path=a&format=rar", "")
}

func TestFormsAndArchivesAreUploadedAsFiles(t *testing.T) {
	h := newHarness(t)
	files := h.create() + "/files"
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	w.WriteField("comment", "not a file")
	part, err := w.CreateFormFile("file", "größe.txt")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(part, "42")
	w.Close()
	req := h.request("POST", files+"?path=in", form.String())
	req.Header.Set("Content-Type", w.FormDataContentType())
	var done FilesWritten
	h.send(req).decode(t, &done)
	if len(done.Files) != 1 || !strings.HasSuffix(done.Files[0].Path, "/in/größe.txt") {
		t.Errorf("got the files %+v, want one: in/größe.txt", done)
	}
	for _, format := range []string{"tar", "tgz", "zip"} {
		archive := h.do(200, "GET", files+"/archive?path=in&format="+format, "")
		if name := archive.Header.Get("Content-Disposition"); !strings.HasPrefix(name, `attachment; filename="in.`) {
			t.Errorf("%s: got the Content-Disposition %s, want an attachment with a name that begins with in.", format, name)
		}
		var unpacked Unpacked
		h.do(200, "PUT", files+"/archive?path=out/"+format, string(archive.body)).decode(t, &unpacked)
		if unpacked.Entries != 1 || unpacked.Bytes != 2 {
			t.Errorf("%s: got %+v, want 1 entry of 2 bytes", format, unpacked)
		}
	}
	h.do(422, "PUT", files+"/archive?path=out", "not an archive, but a text that is long enough to look like one")
}

func TestAnUploadAboveTheLimitOfTheOperatorIsRefused(t *testing.T) {
	h := newHarnessWith(t, func(o *registry.Options) { o.MaxUpload = 100 }, nil)
	files := h.create() + "/files"
	h.do(429, "PUT", files+"/content?path=a", strings.Repeat("x", 101))
	req := h.request("PUT", files+"/content?path=a", "")
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 101))), -1
	if a := h.send(req); a.StatusCode != 429 {
		t.Errorf("upload of unknown size: got status %d, want 429", a.StatusCode)
	}
	h.do(404, "GET", files+"/stat?path=a", "")
	h.do(200, "PUT", files+"/content?path=a", strings.Repeat("x", 100))
}

// whileIt runs change again and again until f returns.
func whileIt(t *testing.T, change func() error, f func()) {
	t.Helper()
	var changing sync.WaitGroup
	stop := make(chan struct{})
	changing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := change(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	defer func() { close(stop); changing.Wait() }()
	f()
}

func TestADownloadOfAGrowingOrReplacedFileIsCompleteAndHasTheRightVersion(t *testing.T) {
	h := newHarness(t)
	files := h.create() + "/files"
	h.do(200, "PUT", files+"/content?path=log", "begin")
	var info cellhold.FileInfo
	h.do(200, "GET", files+"/stat?path=log", "").decode(t, &info)
	log, err := os.OpenFile(info.Exact(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	grow := func() error { _, err := log.WriteString("x"); return err }
	whileIt(t, grow, func() {
		for range 50 {
			h.do(200, "GET", files+"/content?path=log", "")
			req := h.request("GET", files+"/content?path=log", "")
			req.Header.Set("Range", "bytes=1-3")
			if a := h.send(req); a.StatusCode != 206 || string(a.body) != "egi" {
				t.Errorf("a range of a growing file: got status %d with %q, want 206 with egi", a.StatusCode, a.body)
			}
		}
	})
	dir, n := filepath.Dir(info.Exact()), 0
	replace := func() error {
		n++
		temp := filepath.Join(dir, "temp")
		return errors.Join(os.WriteFile(temp, bytes.Repeat([]byte{byte('a' + n%20)}, 1000+n%1000), 0o600), os.Rename(temp, filepath.Join(dir, "log")))
	}
	if err := replace(); err != nil { // the grown file has different letters
		t.Fatal(err)
	}
	whileIt(t, replace, func() {
		for range 50 {
			a := h.do(200, "GET", files+"/content?path=log", "")
			size := fmt.Sprintf("-%x-", len(a.body))
			if strings.Trim(string(a.body), string(a.body[:1])) != "" || !strings.Contains(a.Header.Get("ETag"), size) {
				t.Errorf("got %d bytes of different files, or a wrong ETag %s", len(a.body), a.Header.Get("ETag"))
			}
		}
	})
}

func TestAWatchOfFilesStreamsChanges(t *testing.T) {
	h := newHarness(t)
	files := h.create() + "/files"
	res, err := http.DefaultClient.Do(h.request("GET", files+"/watch", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	event := ""
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if name == "event" {
			event = value
		}
		if name != "data" {
			continue
		}
		if event == "ready" {
			h.do(200, "PUT", files+"/content?path=new", "x")
			continue
		}
		var c cellhold.FileChange
		if err := json.Unmarshal([]byte(value), &c); err != nil || event != "created" || c.Type != cellhold.FileCreated || !strings.HasSuffix(c.Path, "/new") {
			t.Errorf("got the event %s with %s, %v; want created with the path new", event, value, err)
		}
		return
	}
	t.Errorf("the watch ended with %v before a change, want the event created", lines.Err())
}
