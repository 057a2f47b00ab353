package e2e

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// displays has cells that display values, with the expected MIME types and a part of the content.
var displays = []struct {
	name, code string
	types      []string
	piece      string // part of the first type's content, without JSON escapes
}{
	{"pandas", "import pandas as pd; pd.DataFrame({'größe': [1, 2]})", []string{"text/html", "text/plain"}, "<th>größe</th>"},
	{"polars", "import polars as pl; pl.DataFrame({'größe': [1, 2]})", []string{"text/html", "text/plain"}, "größe"},
	{"plotly", "import plotly.express as px; px.line(x=[1, 2], y=[1, 2], title='größe')", []string{"application/vnd.plotly.v1+json"}, "größe"},
	{"altair", "import altair as alt, pandas as pd; chart = alt.Chart(pd.DataFrame({'a': [1]}), title='größe').mark_point().encode(x='a'); chart",
		[]string{"text/html", "text/plain"}, "vega"},
	{"altair as data", "alt.renderers.enable('mimetype'); chart", []string{"application/vnd.vegalite.v6.json", "text/plain"}, "größe"},
	{"bokeh", "from bokeh.embed import file_html; from bokeh.plotting import figure; from bokeh.resources import INLINE; from IPython.display import HTML; f = figure(title='hi'); f.line([1, 2], [1, 2]); HTML(file_html(f, INLINE))",
		[]string{"text/html", "text/plain"}, "<!DOCTYPE html>"},
	{"seaborn", "import seaborn as sns; sns.histplot([1, 2, 2]); None", []string{"image/png", "text/plain"}, "iVBOR"},
	{"PIL", "from PIL import Image; Image.new('RGB', (4, 4), 'red')", []string{"image/png", "text/plain"}, "iVBOR"},
	{"sympy", "import sympy; sympy.init_printing(); sympy.sqrt(sympy.Symbol('x')) / 2", []string{"text/latex", "text/plain"}, `\sqrt{x}`},
	{"HTML", "from IPython.display import HTML; HTML('<b>größe</b>')", []string{"text/html", "text/plain"}, "<b>größe</b>"},
	{"Markdown", "from IPython.display import Markdown; Markdown('# größe')", []string{"text/markdown", "text/plain"}, "# größe"},
	{"Latex", "from IPython.display import Latex; Latex('$x^2$')", []string{"text/latex", "text/plain"}, "$x^2$"},
	{"Math", "from IPython.display import Math; Math('x^2')", []string{"text/latex", "text/plain"}, "x^2"},
	{"SVG", "from IPython.display import SVG; SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"><text>größe</text></svg>')", []string{"image/svg+xml", "text/plain"}, "größe"},
	{"JSON", "from IPython.display import JSON; JSON({'größe': [1, None, True]})", []string{"application/json", "text/plain"}, "größe"},
	{"GeoJSON", "from IPython.display import GeoJSON; GeoJSON({'type': 'Point', 'coordinates': [1, 2]})", []string{"application/geo+json", "text/plain"}, "Point"},
	{"Image", "from IPython.display import Image; Image(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(20))", []string{"image/png", "text/plain"}, "iVBOR"},
	{"JPEG", "import io; from PIL import Image as I; from IPython.display import Image; b = io.BytesIO(); I.new('RGB', (4, 4)).save(b, 'jpeg'); Image(b.getvalue())", []string{"image/jpeg", "text/plain"}, "/9j/"},
	{"GIF", "import io; from PIL import Image as I; from IPython.display import Image; b = io.BytesIO(); I.new('P', (4, 4)).save(b, 'gif'); Image(b.getvalue())", []string{"image/gif", "text/plain"}, "R0lG"},
	{"Audio", "import numpy as np; from IPython.display import Audio; Audio(np.sin(np.arange(800)), rate=8000)", []string{"text/html", "text/plain"}, "<audio"},
	{"Video", "from IPython.display import Video; Video(b'1234', embed=True, mimetype='video/mp4')", []string{"text/html", "text/plain"}, "<video"},
	{"Javascript", "from IPython.display import Javascript; Javascript('1 + 1')", []string{"application/javascript", "text/plain"}, "1 + 1"},
	{"IFrame", "from IPython.display import IFrame; IFrame('about:blank', 10, 10)", []string{"text/html", "text/plain"}, "<iframe"},
	{"Pretty", "from IPython.display import Pretty; Pretty('größe')", []string{"text/plain"}, "größe"},
	{"a type of its own", "from IPython.display import display; display({'application/x.thing+json': {'größe': 1}, 'text/x-thing': 'größe'}, raw=True)",
		[]string{"application/x.thing+json", "text/x-thing"}, "größe"},
}

func TestEveryDisplayArrivesInAllItsTypesAndTheNotebookKeepsIt(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, d := range displays {
		t.Run(d.name, func(t *testing.T) {
			c := s.run(t, id, d.code)
			if c.Status != cellhold.StatusOK {
				t.Fatalf("the cell ended with %s and %s, want ok", c.Status, text(c))
			}
			checkBundle(t, lastBundle(c.Outputs), d.types, d.piece)
		})
	}
	kept := s.notebookBundles(t, id)
	if len(kept) != len(displays) {
		t.Fatalf("the notebook has %d cells with a display, want %d", len(kept), len(displays))
	}
	for i, d := range displays {
		t.Run("notebook/"+d.name, func(t *testing.T) { checkBundle(t, kept[i], d.types, d.piece) })
	}
}

// lastBundle returns the MIME bundle of the last output that has one.
func lastBundle(outputs []cellhold.Output) map[string]json.RawMessage {
	for _, o := range slices.Backward(outputs) {
		if o.Data != nil {
			return o.Data
		}
	}
	return nil
}

// checkBundle checks that a bundle has the types, and that its first type contains piece.
func checkBundle(t *testing.T, got map[string]json.RawMessage, types []string, piece string) {
	t.Helper()
	for _, mime := range types {
		if len(got[mime]) == 0 {
			t.Errorf("got the types %q, want %s too", slices.Sorted(maps.Keys(got)), mime)
		}
	}
	if body := unescaped(got[types[0]]); !strings.Contains(body, piece) {
		t.Errorf("%s is %.200s, want %q in it", types[0], body, piece)
	}
}

// unescaped returns the text of a value: a string, a list of lines, or JSON without escapes.
func unescaped(raw json.RawMessage) string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return one
	}
	var lines []string
	if json.Unmarshal(raw, &lines) == nil {
		return strings.Join(lines, "")
	}
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return ""
	}
	again, _ := json.Marshal(value)
	return string(again)
}

// notebookBundles returns the last MIME bundle of each cell of the session's notebook.
func (s *server) notebookBundles(t *testing.T, id cellhold.SessionID) []map[string]json.RawMessage {
	t.Helper()
	var raw bytes.Buffer
	if err := s.Notebook(t.Context(), id, &raw); err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cells []struct {
			Outputs []struct {
				Data map[string]json.RawMessage `json:"data"`
			} `json:"outputs"`
		} `json:"cells"`
	}
	if err := json.Unmarshal(raw.Bytes(), &file); err != nil {
		t.Fatal(err)
	}
	var list []map[string]json.RawMessage
	for _, c := range file.Cells {
		for _, o := range slices.Backward(c.Outputs) {
			if o.Data != nil {
				list = append(list, o.Data)
				break
			}
		}
	}
	return list
}
