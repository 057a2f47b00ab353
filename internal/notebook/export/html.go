package export

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"strings"
	"sync"

	"cellhold"
	"cellhold/internal/lazy"

	"github.com/microcosm-cc/bluemonday"
)

// The policy of the page allows only its own style and embedded images. If the cleaning below has a flaw, a
// browser still runs no script and sends no requests.
var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Parse(`{{define "head"}}<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width">
<title>{{.}}</title>
<style>
body { margin: 2em auto; max-width: 60em; padding: 0 1em; font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.45 ui-monospace, monospace }
.cell { margin: 1em 0 } .code { background: #f5f5f2; border-left: 3px solid #9ab; padding: .5em .8em }
.prose { white-space: pre-wrap } .count { float: right; color: #999; font: 12px ui-monospace, monospace }
.out { padding: .5em .8em; overflow-x: auto } .stderr, .error { background: #fdf0ee } .note { color: #864 }
img { max-width: 100% } table { border-collapse: collapse; font-size: 13px } td, th { border: 1px solid #ddd; padding: .2em .5em; text-align: right }
</style></head><body>
{{end}}{{define "cell"}}<div class="cell">
{{if .Prose}}<div class="prose">{{.Source}}</div>{{else}}<div class="code">{{if .Count}}<span class="count">[{{.Count}}]</span>{{end}}<pre><code>{{.Source}}</code></pre></div>{{end}}
{{end}}{{define "output"}}<div class="out {{.Class}}">{{if .Image}}<img src="{{.Image}}" alt="{{.Text}}">{{else if .HTML}}{{.HTML}}{{else}}<pre>{{.Text}}</pre>{{end}}</div>
{{end}}{{define "note"}}{{if .Note}}<div class="note">{{.Note}}</div>{{end}}</div>
{{end}}{{define "tail"}}</body></html>
{{end}}`))
})

type cellView struct {
	Prose  bool
	Source string
	Count  int
	Note   string
}

type outputView struct {
	Class string
	Text  string
	HTML  template.HTML // cleaned
	Image template.URL  // checked
}

// HTML writes the cells as one page without other files.
func HTML(w io.Writer, title string, cells Cells) error {
	if err := page().ExecuteTemplate(w, "head", title); err != nil {
		return fmt.Errorf("export notebook: %w", err)
	}
	policy := cleaner()
	for c, err := range cells {
		if err == nil {
			err = cell(w, policy, c)
		}
		if err != nil {
			return fmt.Errorf("export notebook: %w", err)
		}
	}
	if err := page().ExecuteTemplate(w, "tail", nil); err != nil {
		return fmt.Errorf("export notebook: %w", err)
	}
	return nil
}

// cell writes one cell, one output at a time, because an output takes memory several times while it is cleaned.
func cell(w io.Writer, policy *bluemonday.Policy, c cellhold.Cell) error {
	v := cellView{Source: readable(c.Code), Count: c.ExecutionCount}
	v.Prose = c.Type == cellhold.CellMarkdown || c.Type == cellhold.CellRaw
	list := c.Outputs
	if v.Prose || c.State != cellhold.CellDone {
		list = nil
	} else if c.Status != cellhold.StatusOK && c.Status != cellhold.StatusError {
		v.Note = readable(strings.TrimSpace(fmt.Sprintf("%s. %s", c.Status, c.Cause)))
	}
	if err := page().ExecuteTemplate(w, "cell", v); err != nil {
		return err
	}
	for _, o := range list {
		if err := page().ExecuteTemplate(w, "output", output(policy, o)); err != nil {
			return err
		}
	}
	return page().ExecuteTemplate(w, "note", v)
}

func output(policy *bluemonday.Policy, o cellhold.Output) outputView {
	switch o.Type {
	case cellhold.EventStream:
		class := "stdout"
		if o.Name == "stderr" {
			class = "stderr"
		}
		return outputView{Class: class, Text: readable(o.Text)}
	case cellhold.EventError:
		text := strings.Join(o.Traceback, "\n")
		if text == "" {
			text = o.Exception()
		}
		return outputView{Class: "error", Text: readable(text)}
	}
	v := outputView{Class: "display", Text: readable(value(o, "text/plain"))}
	if v.Image = image(o); v.Image != "" {
		return v
	}
	// The HTML of a widget is only script. Then the text is more useful than an empty box.
	if clean := policy.Sanitize(value(o, "text/html")); strings.TrimSpace(clean) != "" {
		v.HTML = template.HTML(clean)
		return v
	}
	for _, mime := range []string{"text/markdown", "text/latex", "application/json"} {
		if v.Text == "" {
			v.Text = readable(value(o, mime))
		}
	}
	return v
}

// value returns the text that a display has for a MIME type.
func value(o cellhold.Output, mime string) string {
	raw := o.Data[mime]
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return string(raw)
	}
	return text
}

var base64Text = lazy.Regexp(`^[A-Za-z0-9+/=\s]+$`)

// image returns an image of the display as a data URL. An SVG in an img element runs no script and loads
// nothing.
func image(o cellhold.Output) template.URL {
	for _, mime := range []string{"image/png", "image/jpeg", "image/gif", "image/webp"} {
		if text := value(o, mime); text != "" && base64Text().MatchString(text) {
			return template.URL("data:" + mime + ";base64," + strings.Join(strings.Fields(text), ""))
		}
	}
	if svg := value(o, "image/svg+xml"); svg != "" {
		return template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString([]byte(svg)))
	}
	return ""
}

// cleaner reduces HTML to tables and prose: no script, style, frame, form, link or address.
func cleaner() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("table", "thead", "tbody", "tfoot", "tr", "td", "th", "caption", "colgroup", "col",
		"p", "div", "span", "br", "hr", "b", "i", "em", "strong", "u", "s", "small", "sub", "sup", "code", "pre", "kbd",
		"h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "dl", "dt", "dd", "blockquote")
	p.AllowAttrs("colspan", "rowspan").Matching(bluemonday.Integer).OnElements("td", "th")
	p.SkipElementsContent("script", "style", "iframe", "object", "embed", "svg", "math", "template", "noscript", "title", "textarea", "select")
	return p
}

var (
	// escapes matches terminal sequences: colours, and commands with a text such as titles and links.
	escapes  = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)?|\x1b[ -~]`)
	controls = regexp.MustCompile(`[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]`)
)

// readable returns text without characters that a page cannot show.
func readable(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	return controls.ReplaceAllString(escapes.ReplaceAllString(text, ""), "")
}
