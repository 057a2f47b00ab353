package exchange

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"cellhold"
)

// DecodeJSON reads a JSON body, whatever its content type is: clients of other APIs send JSON as text. No body and null
// mean the zero value. Unknown fields are ignored, because new versions of clients send new fields.
func DecodeJSON(r *http.Request, v any) error {
	text, err := io.ReadAll(r.Body)
	if err != nil || len(text) > MaxBody {
		return cellhold.Wrap(cellhold.Invalid, err, "%s", TooLarge)
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return cellhold.Wrap(cellhold.Invalid, err, "The body is not the expected JSON: %s.", strings.TrimSuffix(err.Error(), "."))
	}
	return nil
}
