// Package export writes a notebook in formats that people open without Jupyter: a Python file and an HTML
// page.
//
// It does not trust the output of cells. The page has no script and loads nothing. Text is escaped, images
// are embedded as data, and HTML is reduced to tables and prose. Other hostile output is shown as text.
package export

import (
	"fmt"
	"io"
	"iter"
	"strings"

	"cellhold"
)

// Cells yields the cells of a notebook in order. An error ends the write.
type Cells = iter.Seq2[cellhold.Cell, error]

// displayFallback defines display for Python without IPython.
const displayFallback = `try:
    from IPython.display import display
except ImportError:
    display = print

`

// Python writes the cells as a Python file in the percent format. Editors show that format as cells, and
// Jupytext turns it into a notebook again. The file runs unchanged: code that only IPython understands
// becomes a comment.
func Python(w io.Writer, cells Cells) error {
	p := &printer{w: w}
	p.print("# Cells of a notebook, in the percent format.\n\n")
	shown := false
	for c, err := range cells {
		if err != nil {
			return fmt.Errorf("export notebook: %w", err)
		}
		source := strings.ToValidUTF8(strings.ReplaceAll(c.Code, "\x00", ""), "\ufffd")
		switch c.Type {
		case cellhold.CellMarkdown, cellhold.CellRaw:
			p.print("# %%%% [%s]\n%s\n", c.Type, comment(source))
		default:
			p.print("# %%%%\n")
			if !shown && strings.Contains(source, "display(") {
				p.print("%s", displayFallback)
				shown = true
			}
			p.print("%s\n", plain(source))
		}
	}
	return p.err
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) print(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// comment makes every line a comment.
func comment(text string) string {
	var b strings.Builder
	for line := range strings.Lines(ended(text)) {
		if strings.TrimRight(line, "\r\n") == "" {
			b.WriteString("#\n")
			continue
		}
		b.WriteString("# " + oneLine(line))
	}
	return b.String()
}

// oneLine replaces characters within a line that Python treats as line ends by spaces. Otherwise code could
// hide behind them in a comment.
func oneLine(line string) string {
	body := strings.TrimRight(line, "\r\n")
	return strings.NewReplacer("\r", " ", "\f", " ").Replace(body) + "\n"
}

func ended(text string) string { return strings.TrimRight(text, "\n") + "\n" }

// plain turns magics, shell lines and help requests (x?) into comments, so that Python can run the rest.
func plain(code string) string {
	if strings.HasPrefix(strings.TrimSpace(code), "%%") {
		return comment(code) // the magic sets another language for the cell
	}
	var b strings.Builder
	open := "" // the quotes of a string over several lines
	for line := range strings.Lines(ended(code)) {
		trimmed := strings.TrimSpace(line)
		if open == "" && (strings.HasPrefix(trimmed, "%") || strings.HasPrefix(trimmed, "!") || strings.HasSuffix(trimmed, "?") && !strings.HasPrefix(trimmed, "#")) {
			indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
			if indent != "" { // a block with only comments would not be valid Python
				b.WriteString(indent + "pass  # " + oneLine(strings.TrimLeft(line, " \t")))
			} else {
				b.WriteString("# " + oneLine(line))
			}
			continue
		}
		open = openQuotes(line, open)
		b.WriteString(line)
	}
	return b.String()
}

// openQuotes returns the triple quotes that are open after a line. open has the quotes that are open before the line.
func openQuotes(line, open string) string {
	for i := 0; i < len(line); i++ {
		switch {
		case open == "" && line[i] == '#':
			return ""
		case open != "" && line[i] == '\\':
			i++
		case strings.HasPrefix(line[i:], `"""`) || strings.HasPrefix(line[i:], `'''`):
			if open == "" {
				open = line[i : i+3]
			} else if open == line[i:i+3] {
				open = ""
			}
			i += 2
		case open == "" && (line[i] == '"' || line[i] == '\''):
			i = skipString(line, i)
		}
	}
	return open
}

// skipString returns the index at which a string of one line ends.
func skipString(line string, i int) int {
	quote := line[i]
	for i++; i < len(line) && line[i] != quote; i++ {
		if line[i] == '\\' {
			i++
		}
	}
	return i
}
