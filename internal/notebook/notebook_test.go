package notebook

import (
	"bytes"
	"cellhold"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schema is the format's own schema, from the package nbformat 5.10.4 (BSD-3-Clause,
// testdata/nbformat.LICENSE).
func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("testdata/nbformat.v4.5.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkValid fails the test unless the notebook matches the schema and its ids are unique, which a schema
// cannot express.
func checkValid(t testing.TB, s *jsonschema.Schema, notebook []byte) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(notebook))
	if err != nil {
		t.Fatalf("not JSON: %v\n%.2000s", err, notebook)
	}
	if err := s.Validate(value); err != nil {
		t.Fatalf("not valid: %v\n%.2000s", err, notebook)
	}
	seen := make(map[any]bool)
	for _, c := range value.(map[string]any)["cells"].([]any) {
		id := c.(map[string]any)["id"]
		if seen[id] {
			t.Fatalf("two cells have the id %v", id)
		}
		seen[id] = true
	}
}

func all(cells ...cellhold.Cell) iter.Seq2[cellhold.Cell, error] {
	return func(yield func(cellhold.Cell, error) bool) {
		for _, c := range cells {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func write(t testing.TB, m Meta, cells ...cellhold.Cell) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, m, all(cells...)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func python() Meta {
	return Meta{Kernel: cellhold.KernelInfo{Name: "python3", DisplayName: "Python 3 (ipykernel)", Language: "python",
		LanguageInfo: raw(`{"name":"python","version":"3.13.5","mimetype":"text/x-python",
			"codemirror_mode":{"version":3,"name":"ipython"},"pygments_lexer":"ipython3","nbconvert_exporter":"python","file_extension":".py"}`)}}
}

// everything has a cell of each kind, with outputs of each kind.
func everything() []cellhold.Cell {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	done := cellhold.Cell{
		ID: "c1234567890abcdef", State: cellhold.CellDone, Status: cellhold.StatusError, Cause: "it raised", ExecutionCount: 7,
		Code: "import this\r\nx = \"é <&> \u2028 \\ \x01\"\n\nraise x", Started: start, Ended: start.Add(1500 * time.Microsecond),
		Outputs: []cellhold.Output{
			{Type: cellhold.EventStream, Name: "stdout", Text: "one\ntwo\x0bthree\x1cfour\u0085five\n\nend"},
			{Type: cellhold.EventStream, Name: "stderr"},
			{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{
				"image/png": raw(`"iVBORw0KGgo=\n"`), "text/plain": raw(`"<Figure>\nsize"`), "image/svg+xml": raw(`["<svg>\n","</svg>"]`),
				"application/javascript": raw(`"a\nb"`), "application/json": raw(`{"b":[],"a":{},"c":[1, 2.5,{"z":null,"y":"<\u00e9>"}]}`),
				"application/vnd.plotly.v1+json": raw(` [ ] `), "application/geo+json": raw(`"text"`),
			}, Metadata: map[string]json.RawMessage{"image/png": raw(`{"width":640,"height":480}`), "isolated": raw(`true`)}},
			{Type: cellhold.EventExecuteResult, ExecutionCount: 7, Data: map[string]json.RawMessage{"text/html": raw(`"<b>\n</b>"`)}},
			{Type: cellhold.EventExecuteResult},
			{Type: cellhold.EventError, ErrorName: "ValueError", ErrorValue: new("x\ty"), Traceback: []string{"\x1b[31mred\x1b[0m", "line\ntwo"}},
		},
	}
	return []cellhold.Cell{
		done,
		{ID: "c-running", State: cellhold.CellRunning, Code: "while True: pass", Started: start, ExecutionCount: 8, Outputs: done.Outputs},
		{ID: "c_queued", State: cellhold.CellQueued},
		{ID: "cancelled", State: cellhold.CellDone, Status: cellhold.StatusCancelled, Code: "\n"},
	}
}

func TestANotebookOfEverythingIsValid(t *testing.T) {
	s := schema(t)
	checkValid(t, s, write(t, python(), everything()...))
	checkValid(t, s, write(t, python()))
}

func TestANotebookIsWrittenLineByLine(t *testing.T) {
	got := write(t, Meta{}, cellhold.Cell{ID: "c1", State: cellhold.CellDone, Status: cellhold.StatusOK, ExecutionCount: 1, Code: "print('é')\n1",
		Outputs: []cellhold.Output{
			{Type: cellhold.EventStream, Name: "stdout", Text: "é\n"},
			{Type: cellhold.EventExecuteResult, ExecutionCount: 1, Data: map[string]json.RawMessage{"text/plain": raw(`"1"`)}},
		}})
	want := `{
 "cells": [
  {
   "cell_type": "code",
   "execution_count": 1,
   "id": "c1",
   "metadata": {},
   "outputs": [
    {
     "name": "stdout",
     "output_type": "stream",
     "text": [
      "é\n"
     ]
    },
    {
     "data": {
      "text/plain": [
       "1"
      ]
     },
     "execution_count": 1,
     "metadata": {},
     "output_type": "execute_result"
    }
   ],
   "source": [
    "print('é')\n",
    "1"
   ]
  }
 ],
 "metadata": {
  "kernelspec": {
   "display_name": "Python 3",
   "language": "python",
   "name": "python3"
  },
  "language_info": {
   "name": "python"
  }
 },
 "nbformat": 4,
 "nbformat_minor": 5
}
`
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("notebook differs (-got +want):\n%s", diff)
	}
}

func TestACellThatIsNotDoneHasNoOutputs(t *testing.T) {
	var nb struct {
		Cells []struct {
			Outputs []any
			Count   *int `json:"execution_count"`
		}
	}
	if err := json.Unmarshal(write(t, Meta{}, everything()[1:3]...), &nb); err != nil {
		t.Fatal(err)
	}
	for i, c := range nb.Cells {
		if len(c.Outputs) != 0 || c.Count != nil {
			t.Errorf("cell %d: got %d outputs and count %v, want none", i, len(c.Outputs), c.Count)
		}
	}
}

func TestAHostileKernelCannotMakeANotebookInvalid(t *testing.T) {
	s := schema(t)
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for name, bundle := range map[string]map[string]json.RawMessage{
		"object under model/x+json": {"model/x+json": raw(`{"a":1}`)},
		"object under text/plain":   {"text/plain": raw(`{"a":1}`)},
		"number under image/png":    {"image/png": raw(`1`)},
		"null in a list":            {"text/plain": raw(`["a",null]`)},
		"line feed in a type":       {"application/\n+json": raw(`{}`), "application/x\n+json": raw(`{}`)},
		"capital JSON":              {"application/JSON": raw(`{}`)},
		"no type at all":            {"": raw(`{}`), "é/é": raw(`""`)},
		"half surrogates":           {"text/plain": raw(`"\ud800"`), "application/json": raw(`{"\udfff":"\ud800x"}`)},
		"broken UTF-8":              {"text/plain": raw("\"\xff\""), "application/json": raw("[\"\xc3\"]")},
		"control characters":        {"text/plain": raw(`"\u0000\u001b\u0007"`), "application/json": raw(`"\u0000"`)},
		"deep nesting":              {"application/json": raw(deep)},
		"endless number":            {"application/json": raw(strings.Repeat("9", 5000))},
		"not JSON":                  {"application/json": raw(`{`), "text/plain": raw(`"`), "text/html": raw(``)},
	} {
		o := cellhold.Output{Type: cellhold.EventDisplayData, Data: bundle, Metadata: bundle}
		m := python()
		m.Kernel.LanguageInfo = bundle["application/json"]
		nb := write(t, m, cellhold.Cell{ID: "c1", State: cellhold.CellDone, Outputs: []cellhold.Output{o}})
		t.Run(name, func(t *testing.T) { checkValid(t, s, nb) })
		endless := strings.Repeat("9", 5000) // as a string it is valid for every reader
		if strings.Contains(strings.ReplaceAll(string(nb), `"`+endless+`"`, ""), endless) || strings.Contains(string(nb), strings.Repeat("\n", 2)) {
			t.Errorf("%s: got a notebook that readers refuse", name)
		}
	}
}

func TestAHostileKernelCannotMakeTheMetadataInvalid(t *testing.T) {
	s := schema(t)
	for _, info := range []string{``, `null`, `[]`, `{}`, `{"name":null}`, `{"name":1,"codemirror_mode":[]}`, `{"name":"x","mimetype":{}}`, `{"a":` + strings.Repeat("9", 5000) + `}`} {
		m := Meta{Kernel: cellhold.KernelInfo{Language: "\xff", LanguageInfo: raw(info)}}
		checkValid(t, s, write(t, m))
	}
}

func TestAnInvalidCellEndsTheWrite(t *testing.T) {
	for _, id := range []cellhold.CellID{"", "a b", "é", "x\n", cellhold.CellID(strings.Repeat("x", 65))} {
		if err := Write(io.Discard, Meta{}, all(cellhold.Cell{ID: id})); err == nil {
			t.Errorf("got no error for the id %q", id)
		}
	}
	broken := errors.New("broken")
	err := Write(io.Discard, Meta{}, func(yield func(cellhold.Cell, error) bool) { yield(cellhold.Cell{}, broken) })
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the cells", err)
	}
}

func TestALongNotebookNeedsNoMoreMemoryThanOneCell(t *testing.T) {
	text := strings.Repeat("a line of output\n", 64<<10) // 1 MiB
	var m runtime.MemStats
	most := uint64(0)
	cells := func(yield func(cellhold.Cell, error) bool) {
		for i := range 100 {
			if !yield(cellhold.Cell{ID: cellhold.CellID(fmt.Sprint("c", i)), State: cellhold.CellDone,
				Outputs: []cellhold.Output{{Type: cellhold.EventStream, Name: "stdout", Text: text}}}, nil) {
				return
			}
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	if err := Write(io.Discard, Meta{}, cells); err != nil {
		t.Fatal(err)
	}
	if most > 32<<20 {
		t.Errorf("got %d MiB in use while 100 MiB were written, want less than 32", most>>20)
	}
}

// pythonOrSkip returns a Python that has nbformat and nbconvert.
func pythonOrSkip(t *testing.T) string {
	t.Helper()
	exe := os.Getenv("CELLHOLD_TEST_PYTHON")
	if exe == "" {
		exe = filepath.Join("..", "..", "build", "testvenv", "bin", "python")
	}
	if out, err := exec.CommandContext(t.Context(), exe, "-c", "import nbformat, nbconvert").CombinedOutput(); err != nil {
		t.Skipf("no Python with nbformat and nbconvert: set CELLHOLD_TEST_PYTHON or make build/testvenv (%v %s)", err, out)
	}
	return exe
}

func TestTheReferenceReaderAcceptsOurNotebooks(t *testing.T) {
	exe := pythonOrSkip(t)
	path := filepath.Join(t.TempDir(), "all.ipynb")
	if err := WriteFile(path, FileOptions{}, python(), all(append(everything(), hostileCell(t))...)); err != nil {
		t.Fatal(err)
	}
	// isvalid is the strict check. Reading and writing must give back exactly the same bytes.
	script := `
import sys, json, nbformat, nbconvert
path = sys.argv[1]
text = open(path, encoding="utf-8", newline="").read()
plain = json.loads(text)
assert nbformat.validator.isvalid(plain), "not valid"
nb = nbformat.reads(text, as_version=4)
nbformat.validate(nb)
again = nbformat.writes(nb) + "\n"
if again != text:
    import difflib
    sys.exit("differs from the reference writer:\n" + "\n".join(difflib.unified_diff(text.split("\n"), again.split("\n"), lineterm="")))
html, _ = nbconvert.HTMLExporter().from_notebook_node(nb)
assert "svg" in html and "red" in html, "no image or no traceback"
code, _ = nbconvert.PythonExporter().from_notebook_node(nb)
assert "import this" in code
`
	if out, err := exec.CommandContext(t.Context(), exe, "-W", "ignore", "-c", script, path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// hostileCell returns the record of a cell with hostile output of all kinds.
func hostileCell(t *testing.T) cellhold.Cell {
	f := New(Bounds{})
	for _, content := range []string{
		`{"data":{"model/x+json":{"a":1},"text/plain":{"a":1},"application/json":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}}`,
		`{"data":{"text/plain":"\ud800 \u0000 \u001b[31m","application/json":{"\ud800":1,"b":"\udc00"}},"metadata":{"\ud800":[1]}}`,
		`{"data":{"application/json":` + strings.Repeat("1", 4400) + `}}`,
		`{"data":{"application/json":[1e999]}}`,
		`{"data":null,"metadata":null}`,
	} {
		if err := f.Add(cellhold.Event{Type: cellhold.EventDisplayData, Content: raw(content)}); err != nil {
			t.Fatal(err)
		}
	}
	return cellhold.Cell{ID: "hostile", State: cellhold.CellDone, Status: cellhold.StatusOK, Code: "\xff\x00", Outputs: f.Outputs()}
}
