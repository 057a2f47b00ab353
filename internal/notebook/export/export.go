// Package export writes a notebook as what people open without Jupyter: a Python file and a page.
//
// It refuses to trust what cells put out. The page has no script and loads nothing: text is escaped,
// images are data inside it, and of HTML only what tables and prose need is left. The rest of
// hostile output is the reader's to see, as text.
package export

import (
	"fmt"
	"io"
	"iter"
	"strings"

	"cellhold"
)

// Cells are the cells of a notebook in order; an error among them ends the writing.
type Cells = iter.Seq2[cellhold.Cell, error]

// showAhead makes display known where Python runs without IPython.
const showAhead = `try:
    from IPython.display import display
except ImportError:
    display = print

`

// Python writes the cells as a Python file in the percent format, which editors show as cells and
// Jupytext turns into a notebook again. It runs as it is: what only IPython understands is a comment.
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
				p.print("%s", showAhead)
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

// oneLine turns what Python takes for the end of a line within one into a space: code could hide
// behind it in a comment.
func oneLine(line string) string {
	body := strings.TrimRight(line, "\r\n")
	return strings.NewReplacer("\r", " ", "\f", " ").Replace(body) + "\n"
}

func ended(text string) string { return strings.TrimRight(text, "\n") + "\n" }

// plain makes comments of magics, shell lines and questions, so that Python reads the rest.
func plain(code string) string {
	if strings.HasPrefix(strings.TrimSpace(code), "%%") {
		return comment(code) // the cell is in the language of the magic
	}
	var b strings.Builder
	open := "" // the quotes of a string over several lines
	for line := range strings.Lines(ended(code)) {
		trimmed := strings.TrimSpace(line)
		if open == "" && (strings.HasPrefix(trimmed, "%") || strings.HasPrefix(trimmed, "!") || strings.HasSuffix(trimmed, "?") && !strings.HasPrefix(trimmed, "#")) {
			indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
			if indent != "" { // a block of nothing but comments would not be Python
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

// openQuotes returns the triple quotes that are open after a line, given those before it.
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

// skipString returns the place where a string of one line ends.
func skipString(line string, i int) int {
	quote := line[i]
	for i++; i < len(line) && line[i] != quote; i++ {
		if line[i] == '\\' {
			i++
		}
	}
	return i
}
