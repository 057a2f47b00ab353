package contents

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"cellhold/internal/server/exchange"
)

// pieceSize is the number of bytes of an answer that are written at a time. The JSON of a control character has six bytes,
// so the JSON of a whole document would take much more memory than the document.
const pieceSize = 32 << 10

// content is the content of a model. It is written in pieces.
type content interface {
	write(w *bufio.Writer) error
}

// writeModel answers with a model. The client must read it at a minimum rate, because it holds memory.
func writeModel(w http.ResponseWriter, status int, m model) {
	defer exchange.Steady(w)()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = m.write(bufio.NewWriterSize(w, pieceSize)) // fails only if the caller left
}

func (m model) write(w *bufio.Writer) error {
	body := m.Content
	m.Content = nil
	head, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if body == nil {
		_, _ = w.Write(head) // Flush returns the error
		return w.Flush()
	}
	_, _ = w.Write(bytes.TrimSuffix(head, []byte("null}"))) // Content is the last field
	if err := body.write(w); err != nil {
		return err
	}
	_ = w.WriteByte('}')
	return w.Flush()
}

// text is a content in UTF-8.
type text []byte

// escapes has the short forms of characters in JSON.
var escapes = map[byte]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`}

// write writes a string of JSON. Package encoding/json would make a copy of it in memory.
func (t text) write(w *bufio.Writer) error {
	const hex = "0123456789abcdef"
	_ = w.WriteByte('"') // a later write returns the error
	from := 0
	for i, c := range t {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		if _, err := w.Write(t[from:i]); err != nil {
			return err
		}
		from = i + 1
		if short := escapes[c]; short != "" {
			_, _ = w.WriteString(short)
			continue
		}
		_, _ = w.WriteString(`\u00`)
		_ = w.WriteByte(hex[c>>4])
		_ = w.WriteByte(hex[c&15])
	}
	_, _ = w.Write(t[from:])
	return w.WriteByte('"')
}

// binary is a content that is sent as base64.
type binary []byte

func (c binary) write(w *bufio.Writer) error {
	_ = w.WriteByte('"')
	e := base64.NewEncoder(base64.StdEncoding, w)
	if _, err := e.Write(c); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	return w.WriteByte('"')
}

// compact is a content that is compact JSON.
type compact []byte

func (c compact) write(w *bufio.Writer) error {
	_, err := w.Write(c)
	return err
}

// entries is the content of a directory.
type entries []model

func (l entries) write(w *bufio.Writer) error {
	_ = w.WriteByte('[')
	for i, m := range l {
		if i > 0 {
			_ = w.WriteByte(',')
		}
		one, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if _, err := w.Write(one); err != nil {
			return err
		}
	}
	return w.WriteByte(']')
}
