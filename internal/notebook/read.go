package notebook

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"cellhold"
)

// Bounds of an uploaded notebook.
const (
	// MaxFile is the limit of the file's size in bytes, as for any request.
	MaxFile = 8 << 20
	// maxCells is the limit of the number of cells. The longest real notebooks have a few hundred cells.
	maxCells = 5000
	// maxSource is the limit of one cell's source in bytes, as for all code.
	maxSource = 4 << 20
)

// Notebook is the content of a file. It is only data: no code in it has run.
type Notebook struct {
	Kernel   string          // name of its kernelspec; can be empty
	Language string          // language of its code; can be empty
	Cells    []cellhold.Cell // done, with their outputs; ids are unique
}

// file has the fields of a notebook's JSON that are read. Fields that can have any type are raw.
type file struct {
	Cells    fileCells                  `json:"cells"`
	Metadata map[string]json.RawMessage `json:"metadata"`
	Major    float64                    `json:"nbformat"` // some programs write 4.0
}

type fileCell struct {
	ID          json.RawMessage            `json:"id"`
	Type        cellhold.CellType          `json:"cell_type"`
	Source      json.RawMessage            `json:"source"`
	Metadata    map[string]json.RawMessage `json:"metadata"`
	Attachments map[string]json.RawMessage `json:"attachments"`
	Count       json.RawMessage            `json:"execution_count"`
	Outputs     []json.RawMessage          `json:"outputs"`
}

// fileCells are decoded one by one, so that a hostile file cannot fill the memory: a cell can be as short as
// three bytes in the file (`{},`), but takes 170 bytes in memory.
type fileCells []fileCell

var errCells = cellhold.Errorf(cellhold.Exhausted, "The notebook has too many cells; the limit is %d. Split the notebook.", maxCells)

// UnmarshalJSON reads the cells. It fails if there are more than maxCells.
func (l *fileCells) UnmarshalJSON(b []byte) error {
	if *l = nil; string(b) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return errors.New("the cells are not a list")
	}
	for d.More() {
		if len(*l) == maxCells {
			return errCells
		}
		var c fileCell
		if err := d.Decode(&c); err != nil {
			return err
		}
		*l = append(*l, c)
	}
	return nil
}

// Read reads a notebook of format 4, which can be hostile. It leaves out forbidden values in outputs and
// metadata. If the file is not a notebook, the error says why.
func Read(raw []byte) (Notebook, error) {
	if len(raw) > MaxFile {
		return Notebook{}, cellhold.Errorf(cellhold.Exhausted, "The notebook has %d bytes; the limit is %d bytes. Clear its outputs and try again.", len(raw), MaxFile)
	}
	raw, err := document(raw)
	if err != nil {
		return Notebook{}, err
	}
	if !sound(raw) {
		return Notebook{}, cellhold.Errorf(cellhold.Invalid, "The notebook is nested deeper than %d levels. Clear its outputs and try again.", maxDepth)
	}
	var f file
	if err := json.Unmarshal(raw, &f); errors.Is(err, errCells) {
		return Notebook{}, errCells
	} else if err != nil {
		return Notebook{}, cellhold.Wrap(cellhold.Invalid, err, "The JSON is not a notebook. Upload an .ipynb file.")
	}
	if f.Major != 4 {
		return Notebook{}, cellhold.Errorf(cellhold.Invalid, "The notebook has format %g; only format 4 can be read. Convert it with: jupyter nbconvert --to notebook", f.Major)
	}
	return f.notebook()
}

func (f file) notebook() (n Notebook, err error) {
	var spec struct{ Name, Language string }
	var info struct{ Name string }
	_ = json.Unmarshal(f.Metadata["kernelspec"], &spec) // a value of another type is ignored
	_ = json.Unmarshal(f.Metadata["language_info"], &info)
	n.Kernel, n.Language = spec.Name, strings.ToLower(or(info.Name, spec.Language))
	taken := map[cellhold.CellID]bool{}
	for i, fc := range f.Cells {
		c, err := fc.cell()
		if err != nil {
			return n, cellhold.Wrap(cellhold.KindOf(err), err, "Cell %d: %s", i+1, message(err))
		}
		if taken[c.ID] || !validID().MatchString(string(c.ID)) {
			c.ID = cellhold.NewCellID()
		}
		taken[c.ID] = true
		n.Cells = append(n.Cells, c)
	}
	return n, nil
}

func (fc fileCell) cell() (c cellhold.Cell, err error) {
	switch fc.Type {
	case cellhold.CellMarkdown, cellhold.CellRaw:
	case cellhold.CellCode:
		fc.Attachments = nil
	default:
		return c, cellhold.Errorf(cellhold.Invalid, "Its type is not code, markdown or raw.")
	}
	source, ok := textOf(fc.Source)
	if !ok || !utf8.ValidString(source) {
		return c, cellhold.Errorf(cellhold.Invalid, "Its source is not UTF-8 text.")
	}
	if len(source) > maxSource {
		return c, cellhold.Errorf(cellhold.Exhausted, "Its source has %d bytes; the limit is %d bytes.", len(source), maxSource)
	}
	c = cellhold.Cell{Type: fc.Type, Code: source, State: cellhold.CellDone, Status: cellhold.StatusOK,
		Metadata: cleanMetadata(fc.Metadata), Attachments: cleanAttachments(fc.Attachments), Outputs: []cellhold.Output{}}
	_ = json.Unmarshal(fc.ID, &c.ID) // an id of another type is replaced by a new one
	if fc.Type == cellhold.CellCode {
		var count int
		if json.Unmarshal(fc.Count, &count) == nil && count > 0 && count < 1<<31 {
			c.ExecutionCount = count
		}
		foldOutputs(&c, fc.Outputs)
	}
	return c, nil
}

// foldOutputs passes the outputs of a file through a Folder, so that they have the same limits and form as the
// outputs of a cell that ran here. It leaves out invalid outputs.
func foldOutputs(c *cellhold.Cell, raws []json.RawMessage) {
	f := New(Bounds{})
	for _, raw := range raws {
		var o struct {
			Type cellhold.EventType `json:"output_type"`
			Text json.RawMessage    `json:"text"`
			Name string             `json:"name"`
		}
		if json.Unmarshal(raw, &o) != nil {
			continue
		}
		ev := cellhold.Event{Type: o.Type, Content: raw} // an output in a file has all fields of the content of such an event
		switch o.Type {
		case cellhold.EventStream:
			text, ok := textOf(o.Text)
			if !ok {
				continue
			}
			ev = cellhold.NewEvent(o.Type, "", "", cellhold.StreamContent{Name: o.Name, Text: text})
		case cellhold.EventDisplayData, cellhold.EventExecuteResult, cellhold.EventError:
		default:
			continue
		}
		_ = f.Add(ev) // an invalid output changes nothing
	}
	c.Outputs, c.Bytes, c.Omitted = f.Outputs(), f.Bytes(), f.Dropped()
	c.Truncated = c.Omitted > 0
}

// cleanAttachments returns the attachments of a cell, such as images in Markdown, without forbidden values. It
// keeps at most maxTypes of them.
func cleanAttachments(m map[string]json.RawMessage) map[string]json.RawMessage {
	if len(m) == 0 {
		return nil
	}
	clean := make(map[string]json.RawMessage, min(len(m), maxTypes))
	for _, name := range sorted(m) {
		var bundle map[string]json.RawMessage
		if len(clean) == maxTypes || len(name) > maxType || json.Unmarshal(m[name], &bundle) != nil {
			continue
		}
		raw, err := json.Marshal(cleanBundle(bundle))
		if err == nil {
			clean[strings.ToValidUTF8(name, "\ufffd")] = raw
		}
	}
	return clean
}

// message returns the message of an error of this package.
func message(err error) string {
	e, _ := err.(*cellhold.Error)
	if e == nil {
		return "it cannot be read."
	}
	return e.Message
}

// HasCode reports whether a cell has code to run.
func HasCode(c cellhold.Cell) bool {
	return c.Type == cellhold.CellCode && strings.TrimSpace(c.Code) != ""
}

// CheckLanguage refuses a notebook in another language than the kernel's. It does not compare the
// kernelspecs: on another machine a kernelspec of the same language can have another name.
func (n Notebook) CheckLanguage(kernel string) error {
	if n.Language == "" || strings.EqualFold(n.Language, kernel) {
		return nil
	}
	return cellhold.Errorf(cellhold.Unsupported, "The notebook's language is %.40q, the kernel's is %s. Create a session with a kernel for the notebook's language.", n.Language, kernel)
}
