package notebook

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"

	"cellhold"
)

const (
	// maxKeys is the limit of the keys of one object that is sorted by key, such as a cell. Real ones have fewer than ten.
	maxKeys = 1000
	// maxWritten is the limit of a written file in bytes. Indented lines of deep values could have many times their size.
	maxWritten = 4 * MaxFile
)

// errWritten is the error of a notebook that is too large when it is written.
var errWritten = cellhold.Errorf(cellhold.Exhausted, "The notebook has more than %d bytes when it is written with line breaks. Clear its outputs and try again.", maxWritten)

// Written returns the file of a notebook that a client sends: the layout of the reference writer, with texts as lists of
// lines. It checks only the frame of the notebook. Cells, outputs and metadata keep all fields.
func Written(raw []byte) ([]byte, error) { return rewrite(raw, true) }

// Joined returns a notebook's file as clients expect it: compact JSON, in which each text is one string.
func Joined(raw []byte) ([]byte, error) { return rewrite(raw, false) }

// rewriter writes a notebook in another layout.
type rewriter struct {
	p     *printer
	lines bool // write texts as lists of lines, otherwise as strings
}

func rewrite(raw []byte, lines bool) ([]byte, error) {
	if len(raw) > MaxFile {
		return nil, cellhold.Errorf(cellhold.Exhausted, "The notebook has %d bytes; the limit is %d bytes. Clear its outputs and try again.", len(raw), MaxFile)
	}
	raw, err := document(raw)
	if err != nil {
		return nil, err
	}
	if !sound(raw) {
		return nil, cellhold.Errorf(cellhold.Invalid, "The notebook is nested deeper than %d levels. Clear its outputs and try again.", maxDepth)
	}
	var out limited
	r := &rewriter{p: &printer{w: bufio.NewWriter(&out), indent: lines}, lines: lines}
	if err := r.notebook(raw); err != nil {
		return nil, err
	}
	if lines {
		r.p.newline()
	}
	if err := r.p.w.Flush(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// limited is a buffer that refuses more than maxWritten bytes.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxWritten {
		return 0, errWritten
	}
	return l.Buffer.Write(b)
}

// notebook checks and writes the whole notebook.
func (r *rewriter) notebook(raw json.RawMessage) error {
	f, err := fieldsOf(raw)
	if err != nil {
		return err
	}
	var major float64
	if json.Unmarshal(f["nbformat"], &major) != nil || major != 4 {
		return cellhold.Errorf(cellhold.Invalid, "The notebook has the format %.20q; only format 4 can be used. Convert it with: jupyter nbconvert --to notebook", f["nbformat"])
	}
	if !starts(f["cells"], '[') || !starts(f["metadata"], '{') {
		return cellhold.Errorf(cellhold.Invalid, "The JSON is not a notebook of format 4: it needs the list cells and the object metadata.")
	}
	return r.object(f, map[string]writer{
		"cells": func(raw json.RawMessage) error { return r.list(raw, r.cell) },
		"metadata": func(raw json.RawMessage) error {
			return r.metadata(raw, "orig_nbformat", "orig_nbformat_minor", "signature")
		},
	})
}

// writer writes the value of a field.
type writer func(raw json.RawMessage) error

func (r *rewriter) cell(raw json.RawMessage) error {
	f, err := fieldsOf(raw)
	if err != nil {
		return err
	}
	return r.object(f, map[string]writer{
		"source":   r.text,
		"outputs":  func(raw json.RawMessage) error { return r.list(raw, r.output) },
		"metadata": func(raw json.RawMessage) error { return r.metadata(raw, "trusted") }, // says something about one reader
	})
}

func (r *rewriter) output(raw json.RawMessage) error {
	f, err := fieldsOf(raw)
	if err != nil {
		return err
	}
	return r.object(f, map[string]writer{"text": r.text, "data": r.bundle})
}

// bundle writes the data of a display.
func (r *rewriter) bundle(raw json.RawMessage) error {
	f, err := fieldsOf(raw)
	if err != nil {
		return err
	}
	special := map[string]writer{}
	for mime := range f {
		if r.lines && isLines(mime) || !r.lines && !isJSON(mime) {
			special[mime] = r.text
		}
	}
	return r.object(f, special)
}

// metadata writes an object without the fields that only the memory of a program has.
func (r *rewriter) metadata(raw json.RawMessage, without ...string) error {
	if !starts(raw, '{') {
		return r.json(raw)
	}
	f, err := fieldsOf(raw)
	if err != nil {
		return err
	}
	for _, name := range without {
		delete(f, name)
	}
	return r.object(f, nil)
}

// text writes a string, or a list of strings that are its lines. It keeps other values.
func (r *rewriter) text(raw json.RawMessage) error {
	text, ok := textOf(raw)
	switch {
	case !ok:
		return r.json(raw)
	case r.lines:
		r.p.lines(text)
	default:
		r.p.string(text)
	}
	return nil
}

func (r *rewriter) json(raw json.RawMessage) error {
	r.p.json(raw)
	return nil
}

// object writes the fields of an object, sorted by name.
func (r *rewriter) object(f map[string]json.RawMessage, special map[string]writer) error {
	r.p.open('{')
	for _, name := range sorted(f) {
		r.p.key(name)
		write := special[name]
		if write == nil {
			write = r.json
		}
		if err := write(f[name]); err != nil {
			return err
		}
	}
	r.p.close('}')
	return nil
}

// list writes a list, one item after the other, so that a list of many short items takes no memory.
func (r *rewriter) list(raw json.RawMessage, write writer) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return cellhold.Errorf(cellhold.Invalid, "The JSON is not a notebook of format 4: its cells and outputs must be lists.")
	}
	r.p.open('[')
	for d.More() {
		var item json.RawMessage
		if err := d.Decode(&item); err != nil {
			return cellhold.Wrap(cellhold.Invalid, err, "The JSON of the notebook cannot be read.")
		}
		r.p.item()
		if err := write(item); err != nil {
			return err
		}
	}
	r.p.close(']')
	return nil
}

// errObject is the error of a value that must be an object.
var errObject = cellhold.Errorf(cellhold.Invalid, "The JSON is not a notebook of format 4: the notebook, its cells, outputs and their data must be objects.")

// fieldsOf returns the fields of an object. It refuses more than maxKeys, because each takes much more memory than its text.
func fieldsOf(raw json.RawMessage) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil, errObject
	}
	f := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		var value json.RawMessage
		if err = errors.Join(err, d.Decode(&value)); err != nil {
			return nil, cellhold.Wrap(cellhold.Invalid, err, "The JSON of the notebook cannot be read.")
		}
		if name, ok := key.(string); ok {
			f[name] = value
		}
		if len(f) > maxKeys {
			return nil, cellhold.Errorf(cellhold.Exhausted, "An object of the notebook has more than %d keys. Clear its outputs and try again.", maxKeys)
		}
	}
	return f, nil
}
