package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// plot is a cell with figures, and the number of figures that must arrive.
type plot struct {
	name, code string
	figures    int
}

// chosen has cells that select a matplotlib backend for scripts or desktops. Each cell needs a new kernel.
var chosen = []plot{
	{"Agg, then show", "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()", 1},
	{"Agg, and neither shown nor closed", "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.savefig('/tmp/x.png')", 1},
	{"Agg, saved and closed", "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.savefig('/tmp/x.png'); plt.close()", 0},
	{"a window of Tk", "import matplotlib\nmatplotlib.use('TkAgg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()", 1},
	{"switch_backend", "import matplotlib.pyplot as plt\nplt.switch_backend('agg')\nplt.plot([1, 2])\nplt.show()", 1},
	{"the module of Agg", "import matplotlib\nmatplotlib.use('module://matplotlib.backends.backend_agg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()", 1},
	{"the environment", "import os\nos.environ['MPLBACKEND'] = 'Agg'\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()", 1},
	{"rcParams", "import matplotlib\nmatplotlib.rcParams['backend'] = 'QtAgg'\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()", 1},
	{"pandas", "import matplotlib\nmatplotlib.use('Agg')\nimport pandas as pd\npd.Series([1, 2]).plot();", 1},
	{"%matplotlib tk", "%matplotlib tk\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);", 1},
	{"%matplotlib notebook, qt and widget", "%matplotlib notebook\n%matplotlib qt\n%matplotlib widget\n%matplotlib agg\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);", 1},
	{"the backend pdf", "import matplotlib\nmatplotlib.use('pdf')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()", 1},
}

// shown has cells that show a figure in different ways.
var shown = []plot{
	{"figure.show", "import matplotlib.pyplot as plt\nfor i in range(2):\n    f, a = plt.subplots(); a.plot([1, 2]); f.show(); plt.close(f)", 2},
	{"figure.show, then show", "import matplotlib.pyplot as plt\nf, a = plt.subplots(); a.plot([1, 2]); f.show(); plt.show()", 1},
	{"figure.show, then changed", "import matplotlib.pyplot as plt\nf, a = plt.subplots(); f.show(); a.plot([1, 2]);", 2},
	{"the figure as the result", "import matplotlib.pyplot as plt\nf, a = plt.subplots(); a.plot([1, 2])\nf", 1},
	{"the figure displayed", "import matplotlib.pyplot as plt\nf, a = plt.subplots(); a.plot([1, 2])\ndisplay(f)\nplt.show()", 1},
}

func TestFiguresArriveWithAnyBackend(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, p := range chosen {
		t.Run(p.name, func(t *testing.T) {
			if _, err := s.Restart(t.Context(), id, "python3"); err != nil {
				t.Fatal(err)
			}
			s.checkPlot(t, id, p)
		})
	}
}

func TestAFigureThatWasShownArrivesOnceUntilItChanges(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, p := range shown {
		t.Run(p.name, func(t *testing.T) { s.checkPlot(t, id, p) })
	}
}

// checkPlot runs a cell, counts its figures, and checks that the next cell has no figures.
func (s *server) checkPlot(t *testing.T, id cellhold.SessionID, p plot) {
	t.Helper()
	c := s.run(t, id, p.code)
	if got := outputsOf(c, "image/png"); c.Status != cellhold.StatusOK || got != p.figures {
		t.Errorf("%d figures, want %d; %s: %s", got, p.figures, c.Status, text(c))
	}
	if strings.Contains(text(c), "non-interactive") {
		t.Errorf("the cell prints %s, want no warning about a non-interactive backend", text(c))
	}
	if got := outputsOf(s.run(t, id, "6 * 7"), "image/png"); got != 0 {
		t.Errorf("the next cell has %d figures, want 0", got)
	}
}

func TestADesktopEventLoopIsRefusedAndTheKernelContinues(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "x = 5")
	for _, toolkit := range []string{"tk", "qt", "gtk3", "wx", "osx"} {
		if got := text(s.run(t, id, "%gui "+toolkit)); !strings.Contains(got, "no display") {
			t.Errorf("%%gui %s prints %q, want \"no display\" in it", toolkit, got)
		}
	}
	if got := s.must(t, id, "x"); got != "5" {
		t.Errorf("x is %q, want 5", got)
	}
}

// outputsOf counts the outputs of a cell that have a MIME type.
func outputsOf(c cellhold.Cell, mime string) int {
	return len(slices.DeleteFunc(slices.Clone(c.Outputs), func(o cellhold.Output) bool { return o.Data[mime] == nil }))
}

func TestAPlotlyFigureIsDataAndSmallHTML(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, code := range []string{
		"import plotly.express; plotly.express.scatter(x=[1, 2], y=[3, 4]).show()",
		"fig = plotly.express.line(x=[1, 2], y=[3, 4]); fig",
		"import plotly.graph_objects as go; go.Figure(go.Bar(y=[1, 2])).show()",
	} {
		c := s.run(t, id, code)
		if c.Status != cellhold.StatusOK || len(c.Outputs) != 1 {
			t.Fatalf("%s\ngot %d outputs, %s and %s; want 1 and ok", code, len(c.Outputs), c.Status, text(c))
		}
		var figure struct{ Data []struct{ Type string } }
		o := c.Outputs[0]
		if err := json.Unmarshal(o.Data["application/vnd.plotly.v1+json"], &figure); err != nil || len(figure.Data) != 1 {
			t.Errorf("%s\nthe figure is %+v, %v; want one trace", code, figure, err)
		}
		html := unescaped(o.Data["text/html"])
		if !strings.Contains(html, "plotly") || !strings.Contains(html, "Plotly.newPlot") || len(html) > 100_000 {
			t.Errorf("%s\nthe HTML has %d bytes, want at most 100000 with Plotly.newPlot", code, len(html))
		}
	}
	got := s.must(t, id, "import plotly.io; plotly.io.renderers.default = 'json'; plotly.io.renderers.default")
	if got != "'json'" {
		t.Errorf("the renderer of the code is %s, want %s", got, "'json'")
	}
}

func TestAnAltairChartIsShownAndSavedWithoutANetwork(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, `
import altair as alt, pandas as pd
chart = alt.Chart(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), title="größe").mark_bar().encode(x="a:O", y="b").configure(font="Arial")
chart.save("/tmp/c.png"); chart.save("/tmp/c.svg")
assert open("/tmp/c.svg").read().startswith("<svg") and "größe" in open("/tmp/c.svg").read()
assert open("/tmp/c.png", "rb").read(4) == b"\x89PNG"
chart`)
	if c.Status != cellhold.StatusOK || outputsOf(c, "text/html") != 1 {
		t.Errorf("the cell ended with %s and %s, want ok and one HTML output", c.Status, text(c))
	}
	c = s.run(t, id, "alt.renderers.enable('png'); chart")
	if c.Status != cellhold.StatusOK || outputsOf(c, "image/png") != 1 {
		t.Fatalf("the cell ended with %s and %s, want ok and one PNG", c.Status, text(c))
	}
	if size := figure(t, c.Outputs[len(c.Outputs)-1]).Bounds(); size.Dx() < 50 {
		t.Errorf("the chart has the size %v, want a width of at least 50", size)
	}
}

func TestBokehsShowShowsThePlotInTheCell(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	for name, code := range map[string]string{
		"without output_notebook": "from bokeh.plotting import figure, show\np = figure(); p.line([1, 2], [3, 4]); show(p)",
		"with output_notebook":    "from bokeh.plotting import figure, output_notebook, show\noutput_notebook()\np = figure(); p.line([1, 2], [3, 4]); show(p)",
	} {
		t.Run(name, func(t *testing.T) {
			id := s.session(t, client.CreateSession{})
			c := s.run(t, id, code)
			if c.Status != cellhold.StatusOK || outputsOf(c, "application/vnd.bokehjs_exec.v0+json") != 1 || strings.Contains(text(c), "Warning") {
				t.Errorf("the cell ended with %s and %s, want ok, one plot and no warning", c.Status, text(c))
			}
			if size := len(must(json.Marshal(c.Outputs))); size > 200_000 {
				t.Errorf("the outputs have %d bytes, want at most 200000", size)
			}
			if got := s.must(t, id, "import glob; print(glob.glob('*.html'))"); got != "[]\n" {
				t.Errorf("the cell left the files %s, want %s", got, "[]\n")
			}
		})
	}
}

// must returns v. It panics if err is not nil.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestACellRunsANotebookFile(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `
import nbformat
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# größe"), nbformat.v4.new_code_cell("y = 6"), nbformat.v4.new_code_cell("print(y * 7)")])
nbformat.write(book, "other.ipynb")`)
	if got := s.must(t, id, "%run other.ipynb"); got != "42\n" {
		t.Errorf("the cell prints %q, want %q", got, "42\n")
	}
	if got := s.must(t, id, "y"); got != "6" {
		t.Errorf("y is %q, want 6", got)
	}
}
