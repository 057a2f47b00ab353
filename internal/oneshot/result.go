package oneshot

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/outputs"
)

const (
	// maxOutputs limits the outputs of a result, as JSON.
	maxOutputs = 4 << 20
	// maxText is the size of the beginning and of the end of a stream in a result.
	maxText = 64 << 10
	// slimText replaces maxText in a result without its large parts.
	slimText = 512
	// maxResult is the memory of the largest result, approximately: its outputs, its files, and their JSON.
	maxResult = 2 * (maxOutputs + 2*maxContents)
	// leastRun and leastTest are approximate sizes of JSON: of a run and of a test, without their large parts.
	leastRun  = 16 << 10
	leastTest = 1 << 10
)

// statuses maps the status of a cell to the status of its run. All other statuses are equal.
var statuses = map[cellhold.CellStatus]cellhold.RunStatus{
	cellhold.StatusInterrupted: cellhold.RunLost, cellhold.StatusCancelled: cellhold.RunLost,
}

// takeCell copies the status, the outputs and the exception of a cell into the result. It counts outputs above the
// limit, and omits them.
func (j *job) takeCell(c cellhold.Cell) {
	r := &j.result
	r.Status, r.Cause = cellhold.RunStatus(c.Status), c.Cause
	if s, ok := statuses[c.Status]; ok {
		r.Status = s
	}
	switch exit := 0; r.Status {
	case cellhold.RunException:
		exit = 1
		fallthrough
	case cellhold.RunOK:
		r.Exit = &exit
	}
	texts := map[string]*stream{"stdout": {}, "stderr": {}}
	size := int64(0)
	for i, o := range c.Outputs {
		switch o.Type {
		case cellhold.EventStream:
			if s := texts[o.Name]; s != nil {
				s.add(o)
			}
		case cellhold.EventError:
			r.Exception = &cellhold.RunRaised{Name: o.ErrorName, Traceback: append([]string{}, o.Traceback...)}
			if o.ErrorValue != nil {
				r.Exception.Value = *o.ErrorValue
			}
		default:
			if n := outputs.Size(c.Outputs[i : i+1]); size+n > maxOutputs {
				r.Omitted++
			} else {
				size += n
				r.Outputs = append(r.Outputs, o)
			}
		}
	}
	r.Stdout, r.Stderr = texts["stdout"].output(), texts["stderr"].output()
}

// stream is the text of one stream of a cell.
type stream struct {
	text    strings.Builder
	omitted int64 // bytes that the cell's record does not have
}

func (s *stream) add(o cellhold.Output) {
	s.text.WriteString(o.Text)
	s.omitted += o.Omitted
}

func (s *stream) output() cellhold.CommandOutput {
	text := s.text.String()
	o := cellhold.CommandOutput{Text: text, Bytes: int64(len(text)) + s.omitted}
	if s.omitted > 0 { // the record has a note at the place of the omitted bytes
		o.Omitted = s.omitted
	}
	return shorten(o, maxText)
}

// takeCommand copies the outputs and the status of a program into the result.
func (j *job) takeCommand(c cellhold.Command) {
	r := &j.result
	r.Status, r.Cause, r.Signal = cellhold.RunStatus(c.Status), c.Cause, c.Signal
	r.Stdout, r.Stderr = c.Stdout, c.Stderr
	if c.Status != cellhold.CommandLost && c.Status != cellhold.CommandTimeout {
		code := c.Code
		r.Exit = &code
	}
}

// textOf returns the bytes of a complete output, or of its beginning.
func textOf(o cellhold.CommandOutput) []byte { return decoded(o, o.Text) }

func decoded(o cellhold.CommandOutput, text string) []byte {
	if o.Encoding == "" {
		return []byte(text)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil // the server encoded it, so it is valid
	}
	return b
}

// shorten returns an output with its first and its last n bytes.
func shorten(o cellhold.CommandOutput, n int) cellhold.CommandOutput {
	head, tail := textOf(o), decoded(o, o.Tail)
	if len(head)+len(tail) <= 2*n {
		return o
	}
	if o.Omitted == 0 || len(tail) == 0 {
		head, tail = head[:min(n, len(head))], head[max(len(head)-n, min(n, len(head))):]
	} else {
		head, tail = head[:min(n, len(head))], tail[max(len(tail)-n, 0):]
	}
	if o.Encoding == "" {
		head, tail = trim(head, false), trim(tail, true)
		o.Text, o.Tail = string(head), string(tail)
	} else {
		o.Text, o.Tail = base64.StdEncoding.EncodeToString(head), base64.StdEncoding.EncodeToString(tail)
	}
	o.Omitted = o.Bytes - int64(len(head)) - int64(len(tail))
	return o
}

// trim removes the bytes of an incomplete character at the end of UTF-8 text, or at its start.
func trim(b []byte, start bool) []byte {
	for range utf8.UTFMax - 1 {
		if utf8.Valid(b) {
			break
		}
		if start {
			b = b[1:]
		} else {
			b = b[:len(b)-1]
		}
	}
	return b
}

// encode returns a result as one line of JSON, without escapes of <, > and &.
func encode(r cellhold.RunResult) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// leastResult returns the size of the JSON of a slim result.
func leastResult(q cellhold.RunRequest) int64 { return leastRun + leastTest*int64(len(q.Tests)) }

// slim removes the large parts of a result.
func slim(r cellhold.RunResult) cellhold.RunResult {
	r.Omitted, r.Outputs = r.Omitted+len(r.Outputs), []cellhold.Output{}
	r.MoreFiles, r.Files = r.MoreFiles || len(r.Files) > 0, []cellhold.RunChangedFile{}
	r.Stdout, r.Stderr = shorten(r.Stdout, slimText), shorten(r.Stderr, slimText)
	if e := r.Exception; e != nil {
		r.Exception = &cellhold.RunRaised{Name: cut(e.Name), Value: cut(e.Value), Traceback: []string{}}
	}
	r.Tests = slices.Clone(r.Tests)
	for i := range r.Tests {
		t := &r.Tests[i]
		t.Stdout, t.Stderr = shorten(t.Stdout, 0), shorten(t.Stderr, 0)
	}
	return r
}

// cut returns the beginning of a text.
func cut(s string) string { return string(trim([]byte(s[:min(len(s), slimText)]), false)) }

// refused returns the result of a run whose code did not run.
func refused(index int, kind cellhold.Kind, detail string) cellhold.RunResult {
	r := emptyResult()
	r.Index, r.Status, r.Error = index, cellhold.RunRefused, &cellhold.RunError{Kind: kind, Detail: detail}
	return r
}

// lost returns the result of a run whose code began, but whose end is not known.
func lost(index int, cause string) cellhold.RunResult {
	r := emptyResult()
	r.Index, r.Status, r.Cause = index, cellhold.RunLost, cause
	return r
}
