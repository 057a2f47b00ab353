package export

import (
	"encoding/json"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cellhold"

	"golang.org/x/net/html"
)

func cells(list ...cellhold.Cell) Cells {
	return func(yield func(cellhold.Cell, error) bool) {
		for _, c := range list {
			c.State = cellhold.CellDone
			if !yield(c, nil) {
				return
			}
		}
	}
}

func quoted(s string) json.RawMessage {
	raw, _ := json.Marshal(s)
	return raw
}

func shown(mime, text string) cellhold.Output {
	return cellhold.Output{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{mime: quoted(text)}}
}

func render(t testing.TB, c Cells) string {
	t.Helper()
	var b strings.Builder
	if err := HTML(&b, "a notebook", c); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestThePythonFileRuns(t *testing.T) {
	var b strings.Builder
	err := Python(&b, cells(
		cellhold.Cell{Type: cellhold.CellMarkdown, Code: "# Title\nwith\rimport os; os._exit(3)\n"},
		cellhold.Cell{Code: "%matplotlib inline\n!pip install x\nx = 20\nprint?\nif x:\n    %time x\n"},
		cellhold.Cell{Code: "text = '''\n%not a magic\n!nor this\n'''\ny = \"a ''' b\" # it's '''\n%magic"},
		cellhold.Cell{Code: "%%bash\necho no\n"},
		cellhold.Cell{Code: "display(x + 22); print(text.count('%'), y)"}))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "n.py")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", path).CombinedOutput()
	if err != nil || string(out) != "42\n1 a ''' b\n" {
		t.Errorf("got %q, %v from\n%s", out, err, b.String())
	}
	if !strings.Contains(b.String(), "# %% [markdown]\n# # Title\n") || strings.Count(b.String(), "\n# %%\n") != 4 {
		t.Errorf("not the percent format:\n%s", b.String())
	}
}

// hostile has the attacks that outputs can try.
var hostile = []cellhold.Output{
	shown("text/html", `<script>alert(1)</script><img src=x onerror=alert(2)><table onclick="x()"><tr><td style="background:url(http://evil.test)">kept</td></tr></table>`),
	shown("text/html", `<iframe srcdoc="<script>1</script>"></iframe><meta http-equiv=refresh content="0;url=http://evil.test"><a href="javascript:alert(1)">link</a>`),
	shown("text/html", `<svg><script>1</script></svg><math><mtext><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">`),
	shown("text/html", `</div></body><form action=http://evil.test><input name=a></form><base href=http://evil.test><link rel=stylesheet href=http://evil.test>`),
	shown("image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>`),
	shown("image/png", `AAAA" onerror="alert(1)`),
	shown("application/javascript", `alert(1)`),
	{Type: cellhold.EventStream, Name: `"><script>`, Text: "<script>alert(1)</script>\x1b]0;title\x07\x1b[31mred\x1b[0m\x00\x9b31m"},
	{Type: cellhold.EventError, Traceback: []string{"<b onmouseover=alert(1)>\x1b[0;31mE\x1b[0m"}},
}

// checkSafe fails if a page has an active element or attribute.
func checkSafe(t testing.TB, text string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range all(doc) {
		switch n.Data {
		case "script", "iframe", "frame", "object", "embed", "link", "base", "form", "input", "svg", "math", "a", "template", "button":
			t.Errorf("the page has an element %s", n.Data)
		}
		for _, a := range n.Attr {
			if n.Data == "meta" && a.Key == "http-equiv" && a.Val != "Content-Security-Policy" {
				t.Errorf("the page has a meta %s", a.Val)
			}
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "href" || a.Key == "srcdoc" || a.Key == "src" && !strings.HasPrefix(a.Val, "data:image/") {
				t.Errorf("the element %s has %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
}

func all(n *html.Node) iter.Seq[*html.Node] {
	return func(yield func(*html.Node) bool) {
		if n.Type == html.ElementNode && !yield(n) {
			return
		}
		for d := range n.Descendants() {
			if d.Type == html.ElementNode && !yield(d) {
				return
			}
		}
	}
}

func TestThePageHasNoScriptFromOutputs(t *testing.T) {
	text := render(t, cells(
		cellhold.Cell{Type: cellhold.CellMarkdown, Code: "<script>alert(1)</script>[x](javascript:alert(1))"},
		cellhold.Cell{Code: "</code></pre><script>alert(1)</script>", Cause: "<script>", Status: cellhold.StatusTimeout, Outputs: hostile}))
	checkSafe(t, text)
	for _, want := range []string{"<td>kept</td>", "&lt;script&gt;alert(1)&lt;/script&gt;red", "data:image/svg&#43;xml;base64,", "Content-Security-Policy"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.ContainsAny(text, "\x00\x1b\x07") || strings.Contains(text, "\u009b") {
		t.Error("the page has control characters")
	}
}

func FuzzThePageHasNoScript(f *testing.F) {
	for _, o := range hostile {
		f.Add(value(o, "text/html") + o.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkSafe(t, render(t, cells(cellhold.Cell{Code: text, Outputs: []cellhold.Output{
			shown("text/html", text), shown("image/svg+xml", text), shown("image/png", text), shown("text/plain", text),
			{Type: cellhold.EventStream, Name: "stdout", Text: text}, {Type: cellhold.EventError, Traceback: []string{text}}}})))
	})
}

func TestImagesAndTablesAreInThePage(t *testing.T) {
	text := render(t, cells(cellhold.Cell{Code: "plot()", ExecutionCount: 3, Outputs: []cellhold.Output{
		shown("image/png", "iVBORw0KGgo=\n"), shown("text/html", "<table><tr><th colspan=2>a</th></tr></table>"), shown("text/plain", "x < y")}}))
	for _, want := range []string{`<img src="data:image/png;base64,iVBORw0KGgo="`, `<th colspan="2">a</th>`, "x &lt; y", "[3]", "plot()"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
}
