package notebook

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"cellhold"
)

func TestANotebookOfAClientIsWrittenAsTheReferenceWriterDoes(t *testing.T) {
	sent := `{"nbformat_minor":5,"nbformat":4,"metadata":{"signature":"x","b":1,"a":[]},"cells":[
		{"source":"x = 1\nprint('é')","cell_type":"code","metadata":{"trusted":true,"tags":["t"]},"id":"a","execution_count":null,"extra":{"z":1,"y":2},
		 "outputs":[{"output_type":"stream","name":"stdout","text":"é\nb"},
			{"output_type":"display_data","metadata":{},"data":{"text/plain":["a\n","b"],"image/png":"iVBO\n","application/json":["a","b"],"image/svg+xml":"<svg>\n</svg>"}}]},
		{"cell_type":"markdown","source":"","metadata":{},"id":"b"}]}`
	want := `{
 "cells": [
  {
   "cell_type": "code",
   "execution_count": null,
   "extra": {
    "y": 2,
    "z": 1
   },
   "id": "a",
   "metadata": {
    "tags": [
     "t"
    ]
   },
   "outputs": [
    {
     "name": "stdout",
     "output_type": "stream",
     "text": [
      "é\n",
      "b"
     ]
    },
    {
     "data": {
      "application/json": [
       "a",
       "b"
      ],
      "image/png": "iVBO\n",
      "image/svg+xml": [
       "<svg>\n",
       "</svg>"
      ],
      "text/plain": [
       "a\n",
       "b"
      ]
     },
     "metadata": {},
     "output_type": "display_data"
    }
   ],
   "source": [
    "x = 1\n",
    "print('é')"
   ]
  },
  {
   "cell_type": "markdown",
   "id": "b",
   "metadata": {},
   "source": []
  }
 ],
 "metadata": {
  "a": [],
  "b": 1
 },
 "nbformat": 4,
 "nbformat_minor": 5
}
`
	file, err := Written([]byte(sent))
	if err != nil || string(file) != want {
		t.Fatalf("got %v and\n%s\nwant\n%s", err, file, want)
	}
	if again, err := Written(file); err != nil || !bytes.Equal(again, file) {
		t.Errorf("written again: got %v and\n%s", err, again)
	}
	joined, err := Joined(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"source":"x = 1\nprint('é')"`, `"text":"é\nb"`, `"text/plain":"a\nb"`, `"application/json":["a","b"]`, `"image/svg+xml":"<svg>\n</svg>"`, `"source":""`} {
		if !strings.Contains(string(joined), part) {
			t.Errorf("joined: got %s, want %s in it", joined, part)
		}
	}
}

func TestAFileThatIsNoNotebookIsRefusedWithTheReason(t *testing.T) {
	cells := func(text string) string {
		return `{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":` + text + `}`
	}
	deep := strings.Repeat("[", maxDepth) + strings.Repeat("1,", 1<<20) + "1" + strings.Repeat("]", maxDepth)
	for _, tt := range []struct {
		name, text, want string
		kind             cellhold.Kind
	}{
		{"no JSON", "no", "not JSON", cellhold.Invalid},
		{"cut off", `{"nbformat":4,`, "cut off", cellhold.Invalid},
		{"a list", "[]", "must be objects", cellhold.Invalid},
		{"format 3", `{"nbformat":3,"worksheets":[],"metadata":{}}`, "nbconvert", cellhold.Invalid},
		{"no format", `{"cells":[],"metadata":{}}`, "nbconvert", cellhold.Invalid},
		{"no metadata", `{"nbformat":4,"cells":[]}`, "metadata", cellhold.Invalid},
		{"cells that are no list", cells(`{}`), "list cells", cellhold.Invalid},
		{"a cell that is no object", cells(`[1]`), "must be objects", cellhold.Invalid},
		{"outputs that are no list", cells(`[{"outputs":{}}]`), "must be lists", cellhold.Invalid},
		{"deep values", cells(`[{"metadata":{"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}]`), "nested deeper", cellhold.Invalid},
		{"many keys", cells(`[{` + strings.Repeat(`"a":1,`, 2) + manyKeys(maxKeys+1) + `}]`), "keys", cellhold.Exhausted},
		{"a large file", cells(`["` + strings.Repeat("x", MaxFile) + `"]`), "the limit is", cellhold.Exhausted},
		{"a file that grows", strings.Replace(cells(`[]`), `"metadata":{}`, `"metadata":{"x":`+deep[10:len(deep)-10]+`}`, 1), "line breaks", cellhold.Exhausted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Written([]byte(tt.text))
			if cellhold.KindOf(err) != tt.kind || !strings.Contains(message(err), tt.want) {
				t.Errorf("got the error %v, want one of the kind %s with %q", err, tt.kind, tt.want)
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"k`)
		b.WriteString(strings.Repeat("x", i))
		b.WriteString(`":1,`)
	}
	return b.String() + `"last":1`
}

// FuzzANotebookOfAClientIsWrittenOnce checks that no text breaks the writer, and that a written file stays as it is.
func FuzzANotebookOfAClientIsWrittenOnce(f *testing.F) {
	f.Add([]byte(`{"nbformat":4,"metadata":{"a":NaN},"cells":[{"source":["a\r","b"],"outputs":[{"data":{"text/plain":"\u2028"}}],"metadata":1}]}`))
	f.Add([]byte("\ufeff{\"nbformat\":4.0,\"metadata\":{},\"cells\":[]}\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := Written(raw)
		if err != nil {
			return
		}
		if again, err := Written(file); err != nil || !bytes.Equal(again, file) {
			t.Errorf("written again: got %v and %q, want %q", err, again, file)
		}
		if joined, err := Joined(file); err != nil || !json.Valid(joined) {
			t.Errorf("joined: got %v and %q for %q", err, joined, file)
		}
	})
}
