package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"cellhold"
)

// jupyterFile is a model of the contents API. Pointers are nil if the value is null or missing.
type jupyterFile struct {
	Name, Path, Type string
	Writable         bool
	Created          string
	LastModified     string `json:"last_modified"`
	MimeType         *string
	Format           *string
	Content          json.RawMessage
	Size             *int64
	Hash             *string
	HashAlgorithm    *string `json:"hash_algorithm"`
}

// list returns the names in a directory.
func (f jupyterFile) list(t *testing.T) []string {
	t.Helper()
	var entries []jupyterFile
	if err := json.Unmarshal(f.Content, &entries); err != nil {
		t.Fatalf("%v in %s", err, f.Content)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// jupyterFolder is a session of ann's Jupyter client.
type jupyterFolder struct {
	*harness
	name string // of its folder
	id   string // of the session
	dir  string // its working directory on this machine: the sandbox of the fake driver is a directory
}

func newJupyterFolder(t *testing.T, h *harness) jupyterFolder {
	t.Helper()
	h.jupyter(201, "POST", "/api/kernels", `{"name":"toy"}`, nil)
	f := jupyterFolder{harness: h, id: string(h.manager.List("ann")[0].ID)}
	f.name = "toy-" + f.id
	var info cellhold.FileInfo
	h.do(200, "GET", "/v1/sessions/"+f.id+"/files/stat?path=.", "").decode(t, &info)
	f.dir = info.Path
	return f
}

// contents sends a request for a path in the folder, and checks the model in the answer.
func (f jupyterFolder) contents(status int, method, path, body string) (m jupyterFile) {
	f.t.Helper()
	req := f.request(method, "/jupyter/api/contents/"+path, body)
	req.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	a := f.send(req)
	if a.StatusCode != status {
		f.t.Fatalf("%s %.100s: got status %d with %.300s, want %d", method, path, a.StatusCode, a.body, status)
	}
	switch {
	case status >= 400:
		var p struct{ Message, Reason *string }
		if a.decode(f.t, &p); p.Message == nil || *p.Message == "" {
			f.t.Errorf("%s %.100s: got %s, want an error with a message", method, path, a.body)
		}
	case status == 204 || strings.HasPrefix(string(a.body), "["):
	default:
		checkModel(f.t, a.body)
		a.decode(f.t, &m)
		if want := "/jupyter/api/contents/" + cellhold.EscapePath(m.Path); method != "GET" && a.Header.Get("Location") != want {
			f.t.Errorf("%s %s: got the location %s, want %s", method, path, a.Header.Get("Location"), want)
		}
	}
	return m
}

// in returns the path of a file in the folder for a URL.
func (f jupyterFolder) in(path string) string { return cellhold.EscapePath(f.name + "/" + path) }

var jupyterTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)

// checkModel fails if a model does not have all fields.
func checkModel(t testing.TB, body []byte) {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatalf("%v in %.300s", err, body)
	}
	for _, name := range []string{"name", "path", "type", "writable", "created", "last_modified", "mimetype", "format", "content", "size", "hash", "hash_algorithm"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("the model has no field %s: %.300s", name, body)
		}
	}
	for _, name := range []string{"created", "last_modified"} {
		if text, _ := fields[name].(string); !jupyterTime.MatchString(text) {
			t.Errorf("%s: got %q, want a time with six digits and Z", name, text)
		}
	}
}

func TestTheRootHasAFolderForEachSessionOfJupyter(t *testing.T) {
	h := newJupyter(t, nil)
	h.create() // other sessions are not shown
	f, g := newJupyterFolder(t, h), newJupyterFolder(t, h)
	for _, path := range []string{"/api/contents", "/api/contents/", "/jupyter/api/contents", "/jupyter/api/contents/"} {
		var root jupyterFile
		if h.jupyter(200, "GET", path, "", &root); root.Type != "directory" || root.Path != "" || root.Writable {
			t.Errorf("%s: got %+v, want a directory that clients cannot change", path, root)
		}
		if names := root.list(t); len(names) != 2 || !slices.Contains(names, f.name) || !slices.Contains(names, g.name) {
			t.Errorf("%s: got %v, want %s and %s", path, names, f.name, g.name)
		}
	}
	h.do(200, "POST", "/v1/sessions/"+f.id+"/hibernate", "")
	f.contents(200, "GET", "", "")
	if m := f.contents(200, "GET", f.name+"?content=0", ""); m.Type != "directory" || m.Name != f.name || string(m.Content) != "null" || m.Format != nil {
		t.Errorf("got %+v, want the folder without content", m)
	}
	var s cellhold.Session
	if h.do(200, "GET", "/v1/sessions/"+f.id, "").decode(t, &s); s.State != cellhold.SessionHibernated {
		t.Errorf("the session is %s, want hibernated: only its metadata was read", s.State)
	}
	if names := f.contents(200, "GET", f.name, "").list(t); len(names) != 0 {
		t.Errorf("got %v, want an empty folder", names)
	}
	if h.do(200, "GET", "/v1/sessions/"+f.id, "").decode(t, &s); s.State != cellhold.SessionReady {
		t.Errorf("the session is %s, want ready: its files were read", s.State)
	}
	for _, tt := range []struct{ method, path, body string }{
		{"POST", "", ""}, {"PUT", "new", `{"type":"directory"}`}, {"DELETE", f.name, ""}, {"PATCH", f.name, `{"path":"other"}`}, {"PUT", f.name, `{"type":"directory"}`},
	} {
		f.contents(403, tt.method, tt.path, tt.body)
	}
}

func TestAFileOfASessionIsSavedReadRenamedAndDeleted(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	m := f.contents(201, "PUT", f.in("d/größe ?.txt"), `{"type":"file","format":"text","content":"é\n","name":"x","path":"y"}`)
	if m.Path != f.name+"/d/größe ?.txt" || m.Type != "file" || string(m.Content) != "null" || m.Format != nil || m.MimeType != nil || m.Size == nil || *m.Size != 3 || !m.Writable || m.Hash == nil {
		t.Errorf("saved: got %+v, want the model without content, with a hash", m)
	}
	if text, err := os.ReadFile(filepath.Join(f.dir, "d/größe ?.txt")); err != nil || string(text) != "é\n" {
		t.Errorf("the sandbox has %q, %v", text, err)
	}
	f.contents(200, "PUT", f.in("d/größe ?.txt"), `{"type":"file","format":"text","content":"é\n"}`)
	got := f.contents(200, "GET", f.in("d/größe ?.txt")+"?hash=1&1795900584123", "")
	if string(got.Content) != `"é\n"` || got.Format == nil || *got.Format != "text" || got.MimeType == nil || *got.MimeType != "text/plain" || got.Hash == nil || *got.Hash != *m.Hash || *got.HashAlgorithm != "sha256" {
		t.Errorf("got %+v, want the text with the hash %s", got, *m.Hash)
	}
	if got := f.contents(200, "GET", f.in("d/größe ?.txt")+"?content=0&hash=1", ""); string(got.Content) != "null" || got.MimeType != nil || got.Hash == nil {
		t.Errorf("without content: got %+v", got)
	}
	f.contents(409, "PATCH", f.in("d/größe ?.txt"), fmt.Sprintf(`{"path":"%s/d"}`, f.name))
	if m := f.contents(200, "PATCH", f.in("d/größe ?.txt"), fmt.Sprintf(`{"path":"/%s/b.py"}`, f.name)); m.Path != f.name+"/b.py" || m.Name != "b.py" {
		t.Errorf("renamed: got %+v, want b.py", m)
	}
	f.contents(404, "PATCH", f.in("nope"), fmt.Sprintf(`{"path":"%s/c"}`, f.name))
	f.contents(200, "PATCH", f.in("b.py"), fmt.Sprintf(`{"path":"%s/b.py"}`, f.name))
	f.contents(204, "DELETE", f.in("b.py"), "")
	for _, method := range []string{"GET", "DELETE"} {
		f.contents(404, method, f.in("b.py"), "")
	}
	f.contents(204, "DELETE", f.in("d"), "")
}

func TestTypesAndFormatsAreThoseOfJupyter(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	binary := []byte{0xff, 0, 1}
	f.contents(201, "PUT", f.in("b.bin"), fmt.Sprintf(`{"type":"file","format":"base64","content":%q}`, base64.StdEncoding.EncodeToString(binary)))
	f.contents(201, "PUT", f.in("a.json"), `{"type":"unknown","format":"text","content":"{\"a\": 1}"}`)
	f.contents(201, "PUT", f.in("d"), `{"type":"directory"}`)
	f.contents(200, "PUT", f.in("d"), `{"type":"directory","content":null}`)
	for _, tt := range []struct {
		path, query    string
		status         int
		format, kind   string
		content, media string
	}{
		{"b.bin", "", 200, "base64", "file", `"/wAB"`, "application/octet-stream"},
		{"b.bin", "?format=base64&type=file", 200, "base64", "file", `"/wAB"`, "application/octet-stream"},
		{"b.bin", "?format=text", 400, "", "", "", ""},
		{"a.json", "?type=file", 200, "text", "file", `"{\"a\": 1}"`, "application/json"},
		{"a.json", "?format=base64", 200, "base64", "file", `"eyJhIjogMX0="`, "application/json"},
		{"a.json", "?format=json", 200, "json", "file", `{"a":1}`, "application/json"},
		{"a.json", "?type=nonsense", 200, "text", "file", `"{\"a\": 1}"`, "application/json"},
		{"a.json", "?type=directory", 400, "", "", "", ""},
		{"a.json", "?type=notebook", 400, "", "", "", ""},
		{"d", "?type=directory", 200, "json", "directory", `[]`, ""},
		{"d", "?type=file", 400, "", "", "", ""},
		{"d", "?format=xml", 400, "", "", "", ""},
		{"d", "?content=2", 400, "", "", "", ""},
		{"d", "?hash=x", 400, "", "", "", ""},
		{"nope", "", 404, "", "", "", ""},
		{"a.json/x", "", 404, "", "", "", ""},
	} {
		m := f.contents(tt.status, "GET", f.in(tt.path)+tt.query, "")
		if tt.status != 200 {
			continue
		}
		media := ""
		if m.MimeType != nil {
			media = *m.MimeType
		}
		if *m.Format != tt.format || m.Type != tt.kind || string(m.Content) != tt.content || media != tt.media {
			t.Errorf("%s%s: got %s %s %s with %s, want %+v", tt.path, tt.query, *m.Format, m.Type, media, m.Content, tt)
		}
	}
	for name, body := range map[string]string{
		"no body": "", "no type": `{"content":"x","format":"text"}`, "no content": `{"type":"file","format":"text"}`, "no format": `{"type":"file","content":"x"}`,
		"a content that is no text": `{"type":"file","format":"text","content":{}}`, "no base64": `{"type":"file","format":"base64","content":"!"}`, "no JSON": `{`,
		"a copy": `{"copy_from":"a","type":"file"}`, "a notebook that is none": `{"type":"notebook","format":"json","content":{"cells":[]}}`,
	} {
		t.Run(name, func(t *testing.T) { f.contents(400, "PUT", f.in("x"), body) })
	}
	f.contents(400, "PUT", f.in("d"), `{"type":"file","format":"text","content":"x"}`)
	f.contents(400, "POST", f.in("a.json"), `{"type":"file"}`)
	f.contents(404, "POST", f.in("nope"), `{"type":"file"}`)
}

func TestANotebookIsSavedInJupytersLayout(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	sent := `{"cells":[{"cell_type":"markdown","id":"a","metadata":{"trusted":true},"source":"a\nb"}],"metadata":{},"nbformat":4,"nbformat_minor":5}`
	if m := f.contents(201, "PUT", f.in("n.ipynb"), `{"type":"notebook","format":"json","content":`+sent+`}`); m.Type != "notebook" {
		t.Errorf("got %+v, want a notebook", m)
	}
	want := "{\n \"cells\": [\n  {\n   \"cell_type\": \"markdown\",\n   \"id\": \"a\",\n   \"metadata\": {},\n   \"source\": [\n    \"a\\n\",\n    \"b\"\n   ]\n  }\n ],\n \"metadata\": {},\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n"
	if text, err := os.ReadFile(filepath.Join(f.dir, "n.ipynb")); err != nil || string(text) != want {
		t.Errorf("the file has %s, %v; want %s", text, err, want)
	}
	m := f.contents(200, "GET", f.in("n.ipynb"), "")
	if m.Type != "notebook" || *m.Format != "json" || m.MimeType != nil || !strings.Contains(string(m.Content), `"source":"a\nb"`) {
		t.Errorf("got %+v with %s", m, m.Content)
	}
	if m := f.contents(200, "GET", f.in("n.ipynb")+"?type=file", ""); *m.Format != "text" || m.Type != "file" {
		t.Errorf("as a file: got %+v", m)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "bad.ipynb"), []byte(`{"cells":[`), 0o644); err != nil {
		t.Fatal(err)
	}
	a := f.send(f.request("GET", "/api/contents/"+f.in("bad.ipynb"), ""))
	if a.StatusCode != 400 || !strings.Contains(string(a.body), "Unreadable Notebook: "+f.name+"/bad.ipynb") || !strings.Contains(string(a.body), "cut off") || !strings.Contains(string(a.body), `"reason":"bad notebook"`) {
		t.Errorf("got status %d with %s, want 400 with the reason", a.StatusCode, a.body)
	}
}

func TestTheServerChoosesTheNameOfANewFile(t *testing.T) {
	h := newJupyter(t, nil)
	f := newJupyterFolder(t, h)
	for _, tt := range []struct{ body, want string }{
		{"", "untitled"}, {`{}`, "untitled1"}, {`{"type":"file","ext":".txt"}`, "untitled.txt"}, {`{"type":"file","ext":".txt"}`, "untitled1.txt"},
		{`{"type":"notebook"}`, "Untitled.ipynb"}, {`{"type":"notebook","ext":".x"}`, "Untitled1.ipynb"}, {`{"ext":".ipynb"}`, "Untitled2.ipynb"},
		{`{"type":"directory"}`, "Untitled Folder"}, {`{"type":"directory"}`, "Untitled Folder 1"},
	} {
		if m := f.contents(201, "POST", f.name, tt.body); m.Name != tt.want || m.Path != f.name+"/"+tt.want {
			t.Errorf("%s: got %s, want %s", tt.body, m.Path, tt.want)
		}
	}
	f.contents(200, "GET", f.in("Untitled.ipynb"), "")
	for _, ext := range []string{"/../x", "/x", `\u0000`} {
		f.contents(400, "POST", f.name, `{"type":"file","ext":"`+ext+`"}`)
	}
	var names [4]string
	var wg sync.WaitGroup
	for i := range names {
		wg.Go(func() {
			a := f.send(f.request("POST", "/api/contents/"+f.in("Untitled Folder"), `{"type":"file"}`))
			var m jupyterFile
			if err := json.Unmarshal(a.body, &m); err != nil {
				t.Error(err)
			}
			names[i] = m.Name
		})
	}
	wg.Wait()
	if slices.Sort(names[:]); names != [4]string{"untitled", "untitled1", "untitled2", "untitled3"} {
		t.Errorf("at the same time: got %v, want four names", names)
	}
}

func TestACopyCanGoToAnotherSession(t *testing.T) {
	h := newJupyter(t, nil)
	f, g := newJupyterFolder(t, h), newJupyterFolder(t, h)
	f.contents(201, "PUT", f.in("d/a.txt"), `{"type":"file","format":"text","content":"42"}`)
	from := fmt.Sprintf(`{"copy_from":"%s/d/a.txt"}`, f.name)
	for dir, want := range map[string]string{f.in("d"): "a-Copy1.txt", f.name: "a.txt", g.name: "a.txt"} {
		m := f.contents(201, "POST", dir, from)
		if m.Name != want {
			t.Errorf("a copy in %s: got %s, want %s", dir, m.Name, want)
		}
		if m := f.contents(200, "GET", cellhold.EscapePath(m.Path), ""); string(m.Content) != `"42"` {
			t.Errorf("the copy has %s, want 42", m.Content)
		}
	}
	if m := f.contents(201, "POST", g.name, fmt.Sprintf(`{"copy_from":"%s/d"}`, f.name)); m.Type != "directory" || m.Path != g.name+"/d" {
		t.Errorf("a copy of a directory: got %+v", m)
	}
	if names := f.contents(200, "GET", g.in("d"), "").list(t); !slices.Equal(names, []string{"a-Copy1.txt", "a.txt"}) {
		t.Errorf("the copied directory has %v", names)
	}
	f.contents(400, "POST", f.in("d"), fmt.Sprintf(`{"copy_from":"%s/d"}`, f.name))
	f.contents(404, "POST", f.name, fmt.Sprintf(`{"copy_from":"%s/nope"}`, f.name))
	f.contents(403, "POST", g.name, fmt.Sprintf(`{"copy_from":%q}`, f.name))
	f.contents(400, "PATCH", f.in("d/a.txt"), fmt.Sprintf(`{"path":"%s/moved.txt"}`, g.name))
	f.contents(400, "PATCH", f.in("d/a.txt"), "")
}

func TestAFileHasOneCheckpoint(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	write := func(status int, text string) {
		f.contents(status, "PUT", f.in("d/a.txt"), fmt.Sprintf(`{"type":"file","format":"text","content":%q}`, text))
	}
	checkpoints := func() (list []struct {
		ID           string
		LastModified string `json:"last_modified"`
	}) {
		f.jupyter(200, "GET", "/api/contents/"+f.in("d/a.txt")+"/checkpoints", "", &list)
		return list
	}
	path := "/jupyter/api/contents/" + f.in("d/a.txt") + "/checkpoints"
	f.jupyter(404, "POST", path, "", nil)
	write(201, "one")
	if list := checkpoints(); len(list) != 0 {
		t.Errorf("got %+v, want no checkpoint", list)
	}
	f.jupyter(404, "POST", path+"/checkpoint", "", nil)
	if a := f.jupyter(201, "POST", path, "", nil); a.Header.Get("Location") != path+"/checkpoint" || !strings.Contains(string(a.body), `"id":"checkpoint"`) {
		t.Errorf("got %s at %s", a.body, a.Header.Get("Location"))
	}
	write(200, "two")
	if list := checkpoints(); len(list) != 1 || list[0].ID != "checkpoint" || !jupyterTime.MatchString(list[0].LastModified) {
		t.Errorf("got %+v, want one checkpoint", list)
	}
	if names := f.contents(200, "GET", f.in("d"), "").list(t); !slices.Equal(names, []string{"a.txt"}) {
		t.Errorf("got %v, want the file only: the checkpoint is hidden", names)
	}
	f.jupyter(204, "POST", path+"/checkpoint", "", nil)
	if m := f.contents(200, "GET", f.in("d/a.txt"), ""); string(m.Content) != `"one"` {
		t.Errorf("restored: got %s, want one", m.Content)
	}
	f.contents(200, "PATCH", f.in("d/a.txt"), fmt.Sprintf(`{"path":"%s/b.txt"}`, f.name))
	path = "/api/contents/" + f.in("b.txt") + "/checkpoints"
	f.jupyter(204, "POST", path+"/checkpoint", "", nil) // the checkpoint moved with the file
	f.jupyter(204, "DELETE", path+"/checkpoint", "", nil)
	f.jupyter(404, "DELETE", path+"/checkpoint", "", nil)
	f.jupyter(201, "POST", path, "", nil)
	f.contents(204, "DELETE", f.in("b.txt"), "")
	f.jupyter(404, "POST", path+"/checkpoint", "", nil) // it ended with the file
}

func TestADirectoryCanBeCalledCheckpoints(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	f.contents(201, "PUT", f.in("checkpoints/checkpoint"), `{"type":"file","format":"text","content":"42"}`)
	if names := f.contents(200, "GET", f.in("checkpoints")+"?content=1&hash=0", "").list(t); !slices.Equal(names, []string{"checkpoint"}) {
		t.Errorf("got %v, want the file", names)
	}
	if m := f.contents(200, "GET", f.in("checkpoints/checkpoint")+"?content=1", ""); string(m.Content) != `"42"` {
		t.Errorf("got %+v, want the file", m)
	}
	if m := f.contents(201, "POST", f.in("checkpoints"), `{"type":"file"}`); m.Path != f.name+"/checkpoints/untitled" {
		t.Errorf("got %+v, want a new file", m)
	}
}

func TestALargeFileIsUploadedInParts(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	part := func(status, chunk int, text string) jupyterFile {
		t.Helper()
		return f.contents(status, "PUT", f.in("big.bin"), fmt.Sprintf(`{"type":"file","format":"base64","chunk":%d,"content":%q}`, chunk, base64.StdEncoding.EncodeToString([]byte(text))))
	}
	one, two := strings.Repeat("1", 3<<20), strings.Repeat("2", 3<<20)
	part(200, 1, "an upload that is replaced")
	part(200, 1, one)
	if m := part(200, 2, two); m.Size == nil || *m.Size != 6<<20 {
		t.Errorf("after two parts: got %+v, want 6 MiB", m)
	}
	f.contents(404, "GET", f.in("big.bin"), "") // it appears when it is complete
	if m := part(201, -1, "end"); m.Size == nil || *m.Size != 6<<20+3 {
		t.Errorf("got %+v, want the whole size", m)
	}
	if text, err := os.ReadFile(filepath.Join(f.dir, "big.bin")); err != nil || string(text) != one+two+"end" {
		t.Errorf("the file has %d bytes, %v; want the three parts", len(text), err)
	}
	part(409, -1, "x")
	part(409, 2, "x")
	part(200, 1, "1")
	part(409, 3, "a part that is missing")
	part(409, -1, "x")
	f.contents(400, "PUT", f.in("n.ipynb"), `{"type":"notebook","format":"json","chunk":1,"content":{}}`)
	if text, err := os.ReadFile(filepath.Join(f.dir, "big.bin")); err != nil || len(text) != 6<<20+3 {
		t.Errorf("the file has %d bytes, %v; want the earlier upload", len(text), err)
	}
}

func TestTooManyUploadsInPartsAreRefusedAndEndWithTheServer(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	for i := range 9 {
		status := 200
		if i == 8 {
			status = 429
		}
		f.contents(status, "PUT", f.in(fmt.Sprint("f", i)), `{"type":"file","format":"text","chunk":1,"content":"x"}`)
	}
	f.server.jupyter.Close()
	f.contents(503, "PUT", f.in("late"), `{"type":"file","format":"text","chunk":1,"content":"x"}`)
	if names := f.contents(200, "GET", f.name, "").list(t); len(names) != 0 {
		t.Errorf("got %v, want no part of a file", names)
	}
}

func TestADocumentAboveTheLimitIsRefusedWithTheRemedy(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	if err := os.WriteFile(filepath.Join(f.dir, "big.txt"), []byte(strings.Repeat("x", 8<<20+1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"", "?type=notebook", "?format=base64"} {
		a := f.send(f.request("GET", "/api/contents/"+f.in("big.txt")+query, ""))
		if a.StatusCode != 413 || !strings.Contains(string(a.body), "/files/"+f.name+"/big.txt") {
			t.Errorf("%s: got status %d with %s, want 413 with the remedy", query, a.StatusCode, a.body)
		}
	}
	if m := f.contents(200, "GET", f.in("big.txt")+"?content=0&hash=1", ""); *m.Size != 8<<20+1 || m.Hash != nil {
		t.Errorf("got %+v, want the size without a hash", m)
	}
	if a := f.jupyter(200, "GET", "/files/"+f.in("big.txt"), "", nil); len(a.body) != 8<<20+1 {
		t.Errorf("got %d bytes, want the whole file", len(a.body))
	}
	body := `{"type":"file","format":"text","content":"` + strings.Repeat("x", 8<<20) + `"}`
	f.contents(413, "PUT", f.in("new.txt"), body)
	req := f.request("PUT", "/api/contents/"+f.in("new.txt"), body)
	req.ContentLength = -1
	if a := f.send(req); a.StatusCode != 413 || !strings.Contains(string(a.body), `"message"`) {
		t.Errorf("a body of unknown size: got status %d with %s, want 413", a.StatusCode, a.body)
	}
	f.contents(404, "GET", f.in("new.txt"), "")
}

func TestADownloadNeverBecomesAPage(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	f.contents(201, "PUT", f.in("p/a page.html"), `{"type":"file","format":"text","content":"<script>alert(1)</script>"}`)
	for _, prefix := range []string{"", "/jupyter"} {
		a := f.jupyter(200, "GET", prefix+"/files/"+f.in("p/a page.html"), "", nil)
		for name, want := range map[string]string{"Content-Type": "application/octet-stream", "Content-Disposition": `attachment; filename="a page.html"`,
			"Content-Security-Policy": "sandbox; default-src 'none'", "X-Content-Type-Options": "nosniff", "Content-Length": "25"} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		req := f.request("GET", prefix+"/files/"+f.in("p/a page.html"), "")
		req.Header.Set("Range", "bytes=1-6")
		if a := f.send(req); a.StatusCode != 206 || string(a.body) != "script" {
			t.Errorf("a range: got status %d with %s", a.StatusCode, a.body)
		}
		f.jupyter(400, "GET", prefix+"/files/"+f.in("p"), "", nil)
		f.jupyter(400, "GET", prefix+"/files/"+f.name, "", nil)
		f.jupyter(400, "GET", prefix+"/files/", "", nil)
		f.jupyter(404, "GET", prefix+"/files/"+f.in("nope"), "", nil)
		f.jupyter(404, "GET", prefix+"/files/"+f.in(".hidden"), "", nil)
	}
}

func TestTheFilesOfE2BStayNextToThoseOfJupyter(t *testing.T) {
	h := newJupyter(t, func(o *Options) { o.Origins = []string{"https://notes.example"} })
	for _, tt := range []struct {
		method, path, origin string
		status               int
	}{
		{"GET", "/files", "", 502}, {"POST", "/files", "", 502}, {"GET", "/e2b/files", "", 502}, {"GET", "/files?path=x&signature=v1_x", "", 401}, {"OPTIONS", "/files", "", 401},
		{"OPTIONS", "/files?path=x&signature=v1_x", "https://notes.example", 204}, {"OPTIONS", "/files/f/x", "https://notes.example", 204},
		{"OPTIONS", "/jupyter/files/f/x", "https://notes.example", 204}, {"PUT", "/files", "", 401}, {"POST", "/files/x", "", 405}, {"GET", "/jupyter/files", "", 401},
		{"GET", "/files/", "", 403}, {"GET", "/files/x", "", 403}, {"HEAD", "/files/x", "", 403},
	} {
		req := h.request(tt.method, tt.path, "")
		req.Header.Del("Authorization")
		if tt.origin != "" {
			req.Header.Set("Origin", tt.origin)
			req.Header.Set("Access-Control-Request-Method", "GET")
		}
		if a := h.send(req); a.StatusCode != tt.status || a.Header.Get("Location") != "" {
			t.Errorf("%s %s: got status %d with %v %s, want %d", tt.method, tt.path, a.StatusCode, a.Header, a.body, tt.status)
		}
	}
}

func TestFilesBelongToOneCaller(t *testing.T) {
	h := newJupyter(t, nil)
	f := newJupyterFolder(t, h)
	f.contents(201, "PUT", f.in("a.txt"), `{"type":"file","format":"text","content":"secret"}`)
	var root jupyterFile
	as := func(method, path, body string) answered {
		req := h.request(method, path, body)
		req.Header.Set("Authorization", "token "+bobToken)
		return h.send(req)
	}
	if as("GET", "/api/contents", "").decode(t, &root); len(root.list(t)) != 0 {
		t.Errorf("bob sees %s, want nothing", root.Content)
	}
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/api/contents/" + f.name, ""}, {"GET", "/api/contents/" + f.name + "?content=0", ""}, {"GET", "/api/contents/" + f.in("a.txt"), ""},
		{"GET", "/files/" + f.in("a.txt"), ""}, {"PUT", "/api/contents/" + f.in("a.txt"), `{"type":"file","format":"text","content":"x"}`},
		{"PUT", "/api/contents/" + f.in("b.txt"), `{"type":"file","format":"text","content":"x","chunk":1}`},
		{"POST", "/api/contents/" + f.name, "{}"}, {"PATCH", "/api/contents/" + f.in("a.txt"), `{"path":"` + f.name + `/b.txt"}`}, {"DELETE", "/api/contents/" + f.in("a.txt"), ""},
		{"GET", "/api/contents/" + f.in("a.txt") + "/checkpoints", ""}, {"POST", "/api/contents/" + f.in("a.txt") + "/checkpoints", ""},
		{"POST", "/api/contents/" + f.in("a.txt") + "/checkpoints/checkpoint", ""}, {"DELETE", "/api/contents/" + f.in("a.txt") + "/checkpoints/checkpoint", ""},
	} {
		if a := as(tt.method, tt.path, tt.body); a.StatusCode != 404 || strings.Contains(string(a.body), "secret") {
			t.Errorf("%s %s as bob: got status %d with %s, want 404", tt.method, tt.path, a.StatusCode, a.body)
		}
	}
	if m := f.contents(200, "GET", f.in("a.txt"), ""); string(m.Content) != `"secret"` {
		t.Errorf("got %s, want the file of ann unchanged", m.Content)
	}
}

func TestTheIdOfAKernelNamesItsFolder(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	f := jupyterFolder{harness: h}
	f.contents(201, "PUT", k.ID+"/a.txt", `{"type":"file","format":"text","content":"42"}`)
	if m := f.contents(200, "GET", k.ID, ""); m.Path != k.ID || !slices.Equal(m.list(t), []string{"a.txt"}) {
		t.Errorf("got %+v, want the folder of the kernel", m)
	}
	h.jupyter(204, "DELETE", "/api/kernels/"+k.ID, "", nil)
	f.contents(404, "GET", k.ID, "")
}

func TestHostileNamesAreRefusedOrShownAsTheyAre(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"..%2f..%2fetc%2fpasswd", "%2e%2e/x", "a/%2e%2e/%2e%2e/x", "%2e", "a%00b", "caf%e9", strings.Repeat("x", 256), strings.Repeat("x/", 200)} {
		for method, body := range map[string]string{"GET": "", "PUT": `{"type":"file","format":"text","content":"x"}`, "DELETE": "", "PATCH": `{"path":"` + f.name + `/x"}`, "POST": `{}`} {
			f.contents(400, method, f.name+"/"+path, body)
		}
		f.jupyter(400, "GET", "/files/"+f.name+"/"+path, "", nil)
	}
	for _, path := range []string{"..", "../x", f.name + "/../../x", f.name + `/a\u0000b`} {
		f.contents(400, "PATCH", f.in("a"), `{"path":"`+path+`"}`)
		f.contents(400, "POST", f.name, `{"copy_from":"`+path+`"}`)
	}
	f.contents(404, "GET", f.name+"/%2fetc%2fpasswd", "") // below the folder, whatever the slash says
	f.contents(201, "PUT", f.in("a\nb"), `{"type":"file","format":"text","content":"x"}`)
	if names := f.contents(200, "GET", f.name, "").list(t); !slices.Equal(names, []string{"a\nb"}) {
		t.Errorf("got %q, want the name with a line feed", names)
	}
	if a := f.jupyter(200, "GET", "/files/"+f.in("a\nb"), "", nil); !strings.HasPrefix(a.Header.Get("Content-Disposition"), `attachment; filename="a_b"`) {
		t.Errorf("got %q, want an attachment", a.Header.Get("Content-Disposition"))
	}
	for _, path := range []string{".ssh/id", ".ipynb_checkpoints/a"} {
		f.contents(404, "GET", f.in(path), "")
		f.contents(400, "PUT", f.in(path), `{"type":"file","format":"text","content":"x"}`)
		f.contents(400, "DELETE", f.in(path), "")
		f.contents(400, "PATCH", f.in("a\nb"), fmt.Sprintf(`{"path":"%s/%s"}`, f.name, path))
	}
}

func TestADirectoryShowsOnlyWhatCanBeRead(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(f.dir, "d"), 0o755))
	must(os.WriteFile(filepath.Join(f.dir, "d/file"), nil, 0o444))
	must(os.WriteFile(filepath.Join(f.dir, "caf\xe9"), nil, 0o644))
	must(os.WriteFile(filepath.Join(f.dir, ".hidden"), nil, 0o644))
	must(os.Symlink("d", filepath.Join(f.dir, "to directory")))
	must(os.Symlink("d/file", filepath.Join(f.dir, "to file.ipynb")))
	must(os.Symlink("nowhere", filepath.Join(f.dir, "dangling")))
	must(os.Symlink("loop", filepath.Join(f.dir, "loop")))
	must(syscall.Mkfifo(filepath.Join(f.dir, "fifo"), 0o644))
	must(os.Symlink("fifo", filepath.Join(f.dir, "to fifo")))
	var entries []jupyterFile
	if err := json.Unmarshal(f.contents(200, "GET", f.name, "").Content, &entries); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		got[e.Name] = e.Type
	}
	if want := map[string]string{"d": "directory", "to directory": "directory", "to file.ipynb": "notebook"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if names := f.contents(200, "GET", f.in("to directory"), "").list(t); !slices.Equal(names, []string{"file"}) {
		t.Errorf("through a link: got %v", names)
	}
	if m := f.contents(200, "GET", f.in("d/file"), ""); m.Writable {
		t.Errorf("got %+v, want a file that cannot be written", m)
	}
	for _, name := range []string{"fifo", "to fifo"} { // a read of a pipe would never end
		f.contents(400, "GET", f.in(name), "")
		if a := f.send(f.request("GET", "/files/"+f.in(name), "")); a.StatusCode != 403 {
			t.Errorf("%s: got status %d with %s, want 403", name, a.StatusCode, a.body)
		}
		f.contents(400, "POST", f.name, fmt.Sprintf(`{"copy_from":"%s/%s"}`, f.name, name))
		f.jupyter(400, "POST", "/api/contents/"+f.in(name)+"/checkpoints", "", nil)
	}
	f.contents(404, "GET", f.in("dangling"), "")
}

func TestAListingHasALimitOfEntries(t *testing.T) {
	f := newJupyterFolder(t, newJupyter(t, nil))
	for i := range 10_000 {
		if err := os.WriteFile(filepath.Join(f.dir, fmt.Sprintf("%05d", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if names := f.contents(200, "GET", f.name, "").list(t); len(names) != 10_000 || names[9_999] != "09999" {
		t.Errorf("got %d names, want 10,000", len(names))
	}
	f.contents(201, "POST", f.name, `{}`)
	a := f.send(f.request(http.MethodGet, "/api/contents/"+url.PathEscape(f.name), ""))
	if a.StatusCode != 413 || !strings.Contains(string(a.body), "10000 entries") {
		t.Errorf("got status %d with %.300s, want 413 with the limit", a.StatusCode, a.body)
	}
}
