package prose

import "strings"

// Paragraph is a piece of text, and the line of its file on which it begins.
type Paragraph struct {
	Line int
	Text string
}

// Markdown returns the paragraphs, list items, headings and table cells of a Markdown file. Code blocks, and lines that
// begin with <, are left out.
func Markdown(text string) (list []Paragraph) {
	var now Paragraph
	flush := func() {
		if strings.TrimSpace(now.Text) != "" {
			list = append(list, now)
		}
		now = Paragraph{}
	}
	fenced := ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch fence := fenceOf(trimmed); {
		case fenced != "":
			if fence == fenced {
				fenced = ""
			}
			continue
		case fence != "":
			flush()
			fenced = fence
			continue
		case trimmed == "" || strings.HasPrefix(trimmed, "<"):
			flush()
			continue
		case strings.HasPrefix(trimmed, "|"):
			flush()
			for _, cell := range strings.Split(strings.ReplaceAll(trimmed, `\|`, " "), "|") {
				list = append(list, Paragraph{i + 1, strings.TrimSpace(cell)})
			}
			continue
		case startsItem(trimmed):
			flush()
			trimmed = strings.TrimLeft(trimmed, "#-*+0123456789.> ")
		}
		if now.Line == 0 {
			now.Line = i + 1
		}
		now.Text += trimmed + " "
	}
	flush()
	return list
}

func fenceOf(line string) string {
	for _, f := range []string{"```", "~~~"} {
		if strings.HasPrefix(line, f) {
			return f
		}
	}
	return ""
}

// startsItem reports whether a line begins a heading, a quote or an item of a list.
func startsItem(line string) bool {
	for _, mark := range []string{"#", "- ", "* ", "+ ", "> "} {
		if strings.HasPrefix(line, mark) {
			return true
		}
	}
	number, rest, found := strings.Cut(line, ". ")
	return found && rest != "" && strings.Trim(number, "0123456789") == ""
}
