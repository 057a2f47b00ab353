package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cellhold"
	"cellhold/client"
)

// notebook exports the session's notebook in a format.
func (s *server) notebook(t testing.TB, id cellhold.SessionID, format string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Export(t.Context(), id, "", format, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// results returns the outputs of a notebook's code cells, without the parts that differ between runs.
func results(t testing.TB, notebook []byte) (list []string) {
	t.Helper()
	var nb struct {
		Cells []struct {
			Type    string           `json:"cell_type"`
			Outputs []map[string]any `json:"outputs"`
		} `json:"cells"`
	}
	if err := json.Unmarshal(notebook, &nb); err != nil {
		t.Fatal(err)
	}
	for _, c := range nb.Cells {
		for _, o := range c.Outputs {
			delete(o, "execution_count")
		}
		text, err := json.Marshal(c.Outputs)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c.Type+" "+string(text))
	}
	return list
}

func TestANotebookGivesTheSameOutputsInANewSession(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	var all [][]byte // the notebook after each cell
	for _, code := range []string{
		"import pandas as pd, matplotlib.pyplot as plt, sys\nx = 6 * 7\nprint('x is', x); print('careful', file=sys.stderr)",
		"df = pd.DataFrame({'n': [1, 2], 'é': ['あ', '<b>']}); df",
		"plt.plot([1, 3, 2]); plt.title('合計'); plt.show()",
		"bar = display('0 %', display_id='bar')\nfor i in range(3): print(f'\\rstep {i}', end='')",
		"bar.update('100 %')",
		"%timeit -n1 -r1 pass" + "\n" + "from IPython.display import clear_output; clear_output(); x",
		"1 / 0",
	} {
		s.run(t, id, code)
		all = append(all, s.notebook(t, id, "ipynb"))
	}
	s.signal(t, syscall.SIGKILL) // the next server reads the cells from the disk
	s = serve(t, home)
	first := s.notebook(t, id, "ipynb")

	again := s.session(t, client.CreateSession{})
	ids, err := s.Import(t.Context(), again, first, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range ids {
		if _, err := s.Wait(t.Context(), again, c); err != nil {
			t.Fatal(err)
		}
	}
	second := s.notebook(t, again, "ipynb")
	validate(t, append(all, first, second)...)
	want, got := results(t, first), results(t, second)
	if len(got) != len(want) {
		t.Fatalf("%d cells, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] && i != len(want)-1 {
			t.Errorf("cell %d gives\n%.600s\nin the new session, and gave\n%.600s", i, got[i], want[i])
		}
	}
	if !strings.Contains(got[len(got)-1], "ZeroDivisionError") { // the number of the cell in the traceback differs
		t.Errorf("the last cell gives %s, want ZeroDivisionError", got[len(got)-1])
	}
}

func TestAnImportWithoutARunKeepsTheOutputs(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	const nb = `{"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "../../../bin/sh", "language": "python", "display_name": "x"}}, "cells": [
	 {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# Mine"},
	 {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": 3, "source": "touched = True\nx", "outputs": [{"output_type": "execute_result", "execution_count": 3, "metadata": {}, "data": {"text/plain": "5"}}]}]}`
	ids, err := s.Import(t.Context(), id, []byte(nb), false)
	if err != nil || len(ids) != 2 {
		t.Fatalf("the import returned the cells %v, %v; want two", ids, err)
	}
	if got := s.must(t, id, "'touched' in globals()"); got != "False" {
		t.Errorf("after the import, the variable of the notebook exists: %s, want False", got)
	}
	out := s.notebook(t, id, "ipynb")
	validate(t, out)
	for _, want := range []string{"# Mine", `"id": "a"`, `"5"`, "'touched' in globals()"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the notebook lacks %q:\n%s", want, out)
		}
	}
	if _, err := s.Import(t.Context(), id, []byte(nb), false); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("a second import: got %v, want kind conflict", err)
	}
	other := s.session(t, client.CreateSession{})
	r := strings.ReplaceAll(nb, `"language": "python"`, `"language": "R"`)
	if _, err := s.Import(t.Context(), other, []byte(r), true); cellhold.KindOf(err) != cellhold.Unsupported {
		t.Errorf("a notebook in R: got %v, want kind unsupported", err)
	}
	if _, err := s.Import(t.Context(), other, []byte(`{"nbformat": 3}`), true); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("a notebook of format 3: got %v, want kind invalid", err)
	}
	if list, err := s.Cells(t.Context(), other); err != nil || len(list) != 0 {
		t.Errorf("got %d cells (%v) after the refused imports, want 0", len(list), err)
	}
}

func TestANotebookWithHostileOutputIsValid(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	// The code makes its own messages. It can sign them, because it knows the kernel's key.
	s.must(t, id, `
import json, hmac, hashlib, datetime, uuid
from ipykernel.kernelapp import IPKernelApp
app = IPKernelApp.instance()
def forge(kind, content):
    parent = app.kernel.get_parent()['header']
    header = {'msg_id': uuid.uuid4().hex, 'msg_type': kind, 'session': app.session.session, 'username': '', 'date': datetime.datetime.now().isoformat(), 'version': '5.3'}
    parts = [json.dumps(header).encode(), json.dumps(parent, default=str).encode(), b'{}', content if isinstance(content, bytes) else json.dumps(content).encode()]
    sign = hmac.new(app.session.key, digestmod=hashlib.sha256)
    for p in parts: sign.update(p)
    app.iopub_thread.send_multipart([b'x', b'<IDS|MSG>', sign.hexdigest().encode(), *parts])
def shown(data, metadata={}): forge('display_data', {'data': data, 'metadata': metadata})
`)
	var all [][]byte // the notebook after each cell
	for _, code := range []string{
		`print('\ud800 half \udfff a surrogate', '\x00\x01\x08\x1b[31m\x9b\u2028\u0085')`,
		`forge('stream', b'{"name": "stdout", "text": "\xff\xfe\xed\xa0\x80"}')`,
		`shown({'application/json': 1}); forge('display_data', b'{"metadata": {}, "data": {"application/json": ' + b'[' * 100000 + b']' * 100000 + b'}}')`,
		`shown({'text/plain': 'x'}, {'a' * 1000: 'b' * (1 << 20), **{str(i): i for i in range(10000)}})`,
		`shown({'text/plain\n': 'x', '': 1, 'a': 2, 'é/x': 3, 'image/png': 7, 'text/html': None, 'application/x+json\nX': [1], 'text/plain': {'a': 1}})`,
		`forge('display_data', b'{"data": {"application/json": 1e999, "a/b+json": -0, "text/plain": "\\ud800"}, "metadata": null}')`,
		`forge('error', {'ename': 'E\x00', 'evalue': 'v' * (1 << 20), 'traceback': ['\x1b[' * 1000] * 5000})`,
		`forge('execute_result', {'data': {'text/plain': 'r'}, 'metadata': {}, 'execution_count': -5})`,
		`forge('stream', {'name': 'stdin', 'text': 'x'}); forge('stream', {'name': 'stdout', 'text': 5}); forge('clear_output', {'wait': 'x'})`,
		`from IPython.display import HTML; HTML('<script>alert(1)</script><img src=x onerror=alert(1)><table><tr><td>kept</td></tr></table>')`,
		`import os; os.kill(os.getpid(), 9)`,
	} {
		c := s.run(t, id, code)
		if c.Status != cellhold.StatusOK && c.Status != cellhold.StatusSignal {
			t.Errorf("%s ended with %s: %s, want ok or signal", code, c.Status, text(c))
		}
		all = append(all, s.notebook(t, id, "ipynb"))
	}
	s.signal(t, syscall.SIGKILL)
	s = serve(t, home)
	nb := s.notebook(t, id, "ipynb")
	validate(t, append(all, nb)...)
	again := s.session(t, client.CreateSession{})
	if _, err := s.Import(t.Context(), again, nb, false); err != nil {
		t.Errorf("import the session's notebook: got %v, want no error", err)
	}
	page := string(s.notebook(t, id, "html"))
	if strings.Contains(page, "<script") || strings.Contains(page, "<img src=x") || !strings.Contains(page, "<td>kept</td>") {
		t.Errorf("got the page\n%.2000s\nwant the table and no active content", page)
	}
}

func TestANotebookIsExportedAsAPythonFileAndAPage(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "%matplotlib inline\nx = 6 * 7")
	s.must(t, id, "print('x is', x)")
	s.must(t, id, "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()")
	page := string(s.notebook(t, id, "html"))
	for _, want := range []string{"x is 42", `src="data:image/png;base64,`, "print(&#39;x is&#39;, x)"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	path := filepath.Join(t.TempDir(), "n.py")
	code := strings.ReplaceAll(string(s.notebook(t, id, "py")), "import matplotlib", "raise SystemExit #") // ends the script there, because some hosts have no matplotlib
	if err := os.WriteFile(path, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("python3", path).CombinedOutput(); err != nil || string(out) != "x is 42\n" {
		t.Errorf("the file prints %q, %v; want \"x is 42\":\n%s", out, err, code)
	}
}
