package contents

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"cellhold/internal/server/exchange"
)

// pieceSize is the number of bytes of a content that are encoded at a time. The JSON of a control character has six bytes,
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

func (t text) write(w *bufio.Writer) error {
	_ = w.WriteByte('"') // a later write returns the error
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	for len(t) > 0 {
		n := min(len(t), pieceSize)
		for n < len(t) && !utf8.RuneStart(t[n]) {
			n--
		}
		b.Reset()
		if err := encoder.Encode(string(t[:n])); err != nil {
			return err
		}
		if _, err := w.Write(b.Bytes()[1 : b.Len()-2]); err != nil { // without the quotes and the line break
			return err
		}
		t = t[n:]
	}
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
