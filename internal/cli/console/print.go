package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"
)

// Format has the flags of commands that print.
type Format struct {
	JSON  bool `help:"Print JSON for programs: the objects of the HTTP API. A stream has one object on each line." name:"json"`
	Quiet bool `help:"Print only ids and names, without headings and reports." short:"q"`
}

// Printer prints the results of a command in the form that its flags ask for. Texts of servers and sandboxes are made
// harmless in each form.
type Printer struct {
	Format
	Out io.Writer
}

// Document prints a value as one JSON document. A nil slice is an empty list.
func (p Printer) Document(value any) error { return p.encode(value, "  ") }

// Line prints a value as one line of JSON.
func (p Printer) Line(value any) error { return p.encode(value, "") }

func (p Printer) encode(value any, indent string) error {
	if v := reflect.ValueOf(value); v.Kind() == reflect.Slice && v.IsNil() {
		value = []any{}
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(value); err != nil {
		return err
	}
	_, err := io.WriteString(p.Out, escaped(text.String()))
	return err
}

// escaped returns JSON without characters that could control a terminal or change the direction of its text. JSON itself
// escapes only those below U+0020.
func escaped(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r >= 0x7f && r < 0xa0 || ChangesDirection(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// Table prints a list: as JSON, as the first column of the rows, or as a table. The heading has the names of the columns,
// separated by white space.
func (p Printer) Table(list any, heading string, rows [][]string) error {
	if p.JSON {
		return p.Document(list)
	}
	table := tabwriter.NewWriter(p.Out, 0, 8, 2, ' ', 0)
	if !p.Quiet {
		fmt.Fprintln(table, strings.Join(strings.Fields(heading), "\t"))
	}
	for _, row := range rows {
		if p.Quiet {
			fmt.Fprintln(p.Out, Printable(row[0]))
			continue
		}
		for i, cell := range row {
			if row[i] = Printable(cell); row[i] == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

// Field is one line about an object.
type Field struct{ Name, Value string }

// Object prints one object: as JSON, as its id, or with one line for each field that is not empty.
func (p Printer) Object(value any, id string, fields []Field) error {
	if p.JSON {
		return p.Document(value)
	}
	if p.Quiet {
		_, err := fmt.Fprintln(p.Out, Printable(id))
		return err
	}
	table := tabwriter.NewWriter(p.Out, 0, 8, 2, ' ', 0)
	for _, f := range fields {
		if f.Value != "" {
			fmt.Fprintf(table, "%s\t%s\n", f.Name, Printable(f.Value))
		}
	}
	return table.Flush()
}

// Result prints the result of a change: as JSON, or as its id, which is also the quiet form.
func (p Printer) Result(value any, id string) error {
	if p.JSON {
		return p.Document(value)
	}
	_, err := fmt.Fprintln(p.Out, Printable(id))
	return err
}

// Report prints the result of a change as JSON, or a sentence for people, which Quiet omits.
func (p Printer) Report(value any, format string, args ...any) error {
	if p.JSON {
		return p.Document(value)
	}
	if p.Quiet {
		return nil
	}
	_, err := fmt.Fprintln(p.Out, Printable(fmt.Sprintf(format, args...)))
	return err
}

// Done prints the result of a change as JSON, or nothing.
func (p Printer) Done(value any) error {
	if p.JSON {
		return p.Document(value)
	}
	return nil
}

// Clock returns a time for people, or "" for the zero time.
func Clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
