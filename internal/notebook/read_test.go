package notebook

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cellhold"
)

const uploaded = `{"nbformat": 4, "nbformat_minor": 4, "metadata": {"kernelspec": {"name": "conda-env-x", "language": "Python"}}, "cells": [
 {"cell_type": "markdown", "id": "intro", "metadata": {"tags": ["a"]}, "source": ["# Title\n", "![x](attachment:x.png)"], "attachments": {"x.png": {"image/png": "AAAA"}}},
 {"cell_type": "code", "id": "intro", "metadata": {}, "execution_count": 7, "source": "1 + 1", "outputs": [
  {"output_type": "stream", "name": "stdout", "text": ["a\n", "b\n"]},
  {"output_type": "execute_result", "execution_count": 7, "metadata": {}, "data": {"text/plain": ["2"], "bad type": 1}}]},
 {"cell_type": "raw", "metadata": {}, "source": ""}]}`

func TestANotebookIsReadAndWrittenAgain(t *testing.T) {
	n, err := Read([]byte(uploaded))
	if err != nil {
		t.Fatal(err)
	}
	if n.Language != "python" || n.Kernel != "conda-env-x" || len(n.Cells) != 3 {
		t.Fatalf("the notebook is %+v", n)
	}
	if n.Cells[0].ID != "intro" || n.Cells[1].ID == "intro" || n.Cells[2].ID == "" {
		t.Errorf("ids are %s, %s, %s", n.Cells[0].ID, n.Cells[1].ID, n.Cells[2].ID)
	}
	if diff := cmp.Diff(brief(n.Cells[1].Outputs), []string{`streamout "a\nb\n"`, `execute_result "2"`}); diff != "" {
		t.Error(diff)
	}
	text := write(t, Meta{}, n.Cells...)
	checkValid(t, schema(t), text)
	again, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(n.Cells, again.Cells); diff != "" {
		t.Errorf("read again it differs:\n%s", diff)
	}
	for _, want := range []string{`"attachments": {`, `"tags": [`, `"cell_type": "raw"`, `"execution_count": 7`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
}

func TestAnInvalidNotebookIsRefusedWithAMessage(t *testing.T) {
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	for name, c := range map[string]struct {
		text string
		kind cellhold.Kind
	}{
		"not JSON":          {`{`, cellhold.Invalid},
		"a list":            {`[]`, cellhold.Invalid},
		"deep":              {`{"nbformat": 4, "cells": [], "metadata": {"x": ` + deep + `}}`, cellhold.Invalid},
		"old":               {`{"nbformat": 3, "worksheets": []}`, cellhold.Invalid},
		"a cell of no type": {`{"nbformat": 4, "cells": [{"cell_type": "x", "source": ""}]}`, cellhold.Invalid},
		"no source":         {`{"nbformat": 4, "cells": [{"cell_type": "code", "source": {"a": 1}}]}`, cellhold.Invalid},
		"cells of null":     {`{"nbformat": 4, "cells": [null]}`, cellhold.Invalid},
		"too many cells":    {`{"nbformat": 4, "cells": [` + strings.TrimSuffix(strings.Repeat(`{},`, 5001), ",") + `]}`, cellhold.Exhausted},
		"too large":         {strings.Repeat(" ", MaxFile+1), cellhold.Exhausted},
	} {
		if _, err := Read([]byte(c.text)); cellhold.KindOf(err) != c.kind {
			t.Errorf("%s: got %v, want %s", name, err, c.kind)
		}
	}
}

func TestAHostileNotebookIsRefusedBeforeItFillsTheMemory(t *testing.T) {
	text := []byte(`{"nbformat": 4, "cells": [` + strings.Repeat(`{},`, 200_000) + `{}]}`)
	if got := testing.AllocsPerRun(1, func() {
		if _, err := Read(text); cellhold.KindOf(err) != cellhold.Exhausted {
			t.Errorf("got %v, want exhausted", err)
		}
	}); got > 15*maxCells {
		t.Errorf("%.0f allocations for a hostile notebook, want at most %d", got, 15*maxCells)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(uploaded))
	f.Add([]byte(`{"nbformat":4,"cells":[{"cell_type":"code","source":["\ud800"],"id":5,"execution_count":"x","outputs":[1,{"output_type":"stream","text":5},{"output_type":"error","traceback":["\u001b"]},{"output_type":"display_data","data":{"application/json":1e999}}]}]}`))
	s := schema(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := Read(raw)
		if err != nil {
			return
		}
		ids := map[cellhold.CellID]bool{}
		for _, c := range n.Cells {
			ids[c.ID] = true
		}
		if len(ids) != len(n.Cells) {
			t.Fatal("two cells have one id")
		}
		var b bytes.Buffer
		if err := Write(&b, Meta{Kernel: cellhold.KernelInfo{Name: n.Kernel, Language: n.Language}}, all(n.Cells...)); err != nil {
			t.Fatal(err)
		}
		checkValid(t, s, b.Bytes())
	})
}

func TestMetadataOfAnImportedCellIsKept(t *testing.T) {
	c := cellhold.Cell{ID: "c1", State: cellhold.CellDone, Status: cellhold.StatusTimeout, Truncated: true, Bytes: 9, Omitted: 4,
		Metadata: map[string]json.RawMessage{"tags": json.RawMessage(`["x"]`), "cellhold": json.RawMessage(`"forged"`)}}
	text := string(write(t, Meta{}, c))
	for _, want := range []string{`"tags": [`, `"status": "timeout"`, `"omitted": 4`, `"truncated": true`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
}
