// Package notebook turns events into notebook outputs, and cells into notebook files (nbformat 4.5).
//
// It does not trust the kernel. Outputs are always bounded, and text is valid UTF-8. A written file matches
// the schema of the format, and the usual readers of the format accept it. The package does not know where events come from
// or when a file is written.
package notebook

import (
	"bufio"
	"cellhold"
	"cellhold/internal/lazy"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"strings"
	"time"
)

// Meta has the metadata of a notebook.
type Meta struct {
	// Kernel is the kernel's description of itself. If it is empty, because the kernel was never ready, the
	// notebook's language is Python, as in the stock image.
	Kernel cellhold.KernelInfo
}

// validID is the format's rule for the ids of cells.
var validID = lazy.Regexp(`^[a-zA-Z0-9_-]{1,64}$`)

// Write writes a notebook cell by cell, so that only one cell is in memory. The result equals the output of
// the reference writer: sorted keys, an indent of one space, a newline at the end. The ids of the cells must be
// unique. If cells yields an error, Write ends and returns it.
func Write(w io.Writer, m Meta, cells iter.Seq2[cellhold.Cell, error]) error {
	p := &printer{w: bufio.NewWriterSize(w, 64<<10), indent: true}
	p.open('{')
	p.key("cells")
	p.open('[')
	for c, err := range cells {
		if err != nil {
			return fmt.Errorf("write notebook: %w", err)
		}
		if !validID().MatchString(string(c.ID)) {
			return fmt.Errorf("write notebook: %q is not a valid cell id", c.ID)
		}
		p.item()
		p.cell(c)
	}
	p.close(']')
	p.key("metadata")
	p.meta(m)
	p.key("nbformat")
	p.number(4)
	p.key("nbformat_minor")
	p.number(5)
	p.close('}')
	p.newline()
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write notebook: %w", err)
	}
	return nil
}

func (p *printer) meta(m Meta) {
	k := m.Kernel
	p.open('{')
	p.key("kernelspec")
	p.open('{')
	p.key("display_name")
	p.string(or(k.DisplayName, "Python 3"))
	p.key("language")
	p.string(or(k.Language, "python"))
	p.key("name")
	p.string(or(k.Name, "python3"))
	p.close('}')
	p.key("language_info")
	p.json(languageInfo(k))
	p.close('}')
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// maxLanguageInfo bounds the kernel's description of its language. Real ones have half a kilobyte.
const maxLanguageInfo = 64 << 10

// languageInfo returns the kernel's description of its language without forbidden values.
func languageInfo(k cellhold.KernelInfo) json.RawMessage {
	info := make(map[string]json.RawMessage)
	if len(k.LanguageInfo) <= maxLanguageInfo && sound(k.LanguageInfo) {
		_ = json.Unmarshal(k.LanguageInfo, &info) // a value that is not an object is dropped
	}
	if info == nil { // JSON null
		info = make(map[string]json.RawMessage)
	}
	for _, name := range []string{"name", "file_extension", "mimetype", "pygments_lexer"} {
		if !starts(info[name], '"') {
			delete(info, name)
		}
	}
	if mode := info["codemirror_mode"]; !starts(mode, '"') && !starts(mode, '{') {
		delete(info, "codemirror_mode")
	}
	if info["name"] == nil {
		info["name"], _ = json.Marshal(or(k.Language, "python"))
	}
	raw, _ := json.Marshal(info) // cannot fail: the parts are valid
	return raw
}

func starts(raw json.RawMessage, c byte) bool { return len(raw) > 0 && raw[0] == c }

func (p *printer) cell(c cellhold.Cell) {
	if c.Type == cellhold.CellMarkdown || c.Type == cellhold.CellRaw {
		p.prose(c)
		return
	}
	done := c.State == cellhold.CellDone
	p.open('{')
	p.key("cell_type")
	p.string("code")
	p.key("execution_count")
	if done {
		p.count(c.ExecutionCount)
	} else {
		p.count(0)
	}
	p.key("id")
	p.string(string(c.ID))
	p.key("metadata")
	p.cellMeta(c)
	p.key("outputs")
	p.open('[')
	if done {
		for _, o := range c.Outputs {
			p.output(o)
		}
	}
	p.close(']')
	p.key("source")
	p.lines(c.Code)
	p.close('}')
}

// prose writes a cell that has no code.
func (p *printer) prose(c cellhold.Cell) {
	p.open('{')
	if len(c.Attachments) > 0 {
		p.key("attachments")
		p.values(c.Attachments)
	}
	p.key("cell_type")
	p.string(string(c.Type))
	p.key("id")
	p.string(string(c.ID))
	p.key("metadata")
	p.values(c.Metadata)
	p.key("source")
	p.lines(c.Code)
	p.close('}')
}

// cellMeta writes the metadata of a cell: the times of its run, with the keys of JupyterLab, a status that is not ok,
// and how much output was left out.
func (p *printer) cellMeta(c cellhold.Cell) {
	meta := make(map[string]json.RawMessage, len(c.Metadata)+2)
	maps.Copy(meta, c.Metadata)
	ours := make(map[string]any)
	if c.Status != "" && c.Status != cellhold.StatusOK {
		ours["status"] = strings.ToValidUTF8(string(c.Status), "\ufffd")
		if c.Cause != "" {
			ours["cause"] = strings.ToValidUTF8(c.Cause, "\ufffd")
		}
	}
	if c.Truncated {
		ours["truncated"], ours["bytes"], ours["omitted"] = true, c.Bytes, c.Omitted
	}
	setMeta(meta, "cellhold", ours)
	times := make(map[string]any)
	for key, t := range map[string]time.Time{
		"iopub.execute_input": c.Started, "iopub.status.busy": c.Started,
		"iopub.status.idle": c.Ended, "shell.execute_reply": c.Ended,
	} {
		if !t.IsZero() && !c.Started.IsZero() {
			// With six digits of a second, as Jupyter writes them and some readers require them.
			times[key] = t.UTC().Format("2006-01-02T15:04:05.000000Z")
		}
	}
	setMeta(meta, "execution", times)
	p.values(meta)
}

func setMeta(meta map[string]json.RawMessage, key string, value map[string]any) {
	if len(value) > 0 {
		meta[key], _ = json.Marshal(value) // cannot fail: the values are texts and numbers
	}
}

// output writes one output with exactly the keys that the format defines for its type.
func (p *printer) output(o cellhold.Output) {
	switch o.Type {
	case cellhold.EventStream:
		p.item()
		p.open('{')
		p.key("name")
		p.string(o.Name)
		p.key("output_type")
		p.string(string(o.Type))
		p.key("text")
		p.lines(o.Text)
		p.close('}')
	case cellhold.EventDisplayData, cellhold.EventExecuteResult:
		p.item()
		p.open('{')
		p.key("data")
		p.bundle(o.Data)
		if o.Type == cellhold.EventExecuteResult {
			p.key("execution_count")
			p.count(o.ExecutionCount)
		}
		p.key("metadata")
		p.values(cleanMetadata(o.Metadata))
		p.key("output_type")
		p.string(string(o.Type))
		p.close('}')
	case cellhold.EventError:
		p.item()
		p.open('{')
		p.key("ename")
		p.string(o.ErrorName)
		p.key("evalue") // required, also for an exception without a text
		if o.ErrorValue != nil {
			p.string(*o.ErrorValue)
		} else {
			p.string("")
		}
		p.key("output_type")
		p.string(string(o.Type))
		p.key("traceback")
		p.strings(o.Traceback)
		p.close('}')
	}
}

// bundle writes the data of a display by MIME type, text in lines.
func (p *printer) bundle(data map[string]json.RawMessage) {
	clean := cleanBundle(data)
	p.open('{')
	for _, mime := range sorted(clean) {
		p.key(mime)
		if !isLines(mime) {
			p.json(clean[mime])
		} else if text, ok := textOf(clean[mime]); ok {
			p.lines(text)
		} else {
			p.json(clean[mime])
		}
	}
	p.close('}')
}

func (p *printer) values(m map[string]json.RawMessage) {
	p.open('{')
	for _, key := range sorted(m) {
		p.key(key)
		p.json(m[key])
	}
	p.close('}')
}
