package script

import (
	"encoding/json"
)

// largeNotebook is the size of a notebook in bytes from which its old outputs are not sent. The server refuses more than
// 8 MiB, and saved plots often exceed that. All cells run again, so their old outputs are not needed.
const largeNotebook = 8 << 20

// withoutOutputs returns a large notebook without the outputs of its cells. It returns all other files as they are, and
// the server says what is wrong with them.
func withoutOutputs(book []byte) []byte {
	if len(book) <= largeNotebook {
		return book
	}
	var file map[string]json.RawMessage
	var cells []map[string]json.RawMessage
	if json.Unmarshal(book, &file) != nil || json.Unmarshal(file["cells"], &cells) != nil {
		return book
	}
	for _, c := range cells {
		if c["outputs"] != nil {
			c["outputs"] = json.RawMessage("[]")
		}
	}
	var err error
	if file["cells"], err = json.Marshal(cells); err != nil {
		return book
	}
	small, err := json.Marshal(file)
	if err != nil {
		return book
	}
	return small
}
