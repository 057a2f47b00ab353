package fastapi

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// JSONFields reads the values of the fields of a JSON object, in the requested order. It compares names
// exactly and ignores other fields. It reports all faults together.
func JSONFields(r *http.Request, fields ...Field) ([]string, *Refusal) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, unreadable(err)
	}
	if len(body) == 0 {
		return nil, invalid(Fault{Type: "missing", Loc: []any{"body"}, Msg: "Field required", Input: null})
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, invalid(notObject(quote(string(body))))
	}
	return parseObject(body, fields)
}

// isJSON reports whether a media type is JSON. An empty type counts as JSON, as in older versions of FastAPI.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "application/json" || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json"))
}

func parseObject(body []byte, fields []Field) ([]string, *Refusal) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	if !utf8.Valid(body) {
		return nil, unreadable(nil)
	}
	if at, why := jsonFault(body); why != "" {
		return nil, invalid(Fault{
			Type: "json_invalid", Loc: []any{"body", at}, Msg: "JSON decode error",
			Input: json.RawMessage("{}"), Ctx: map[string]any{"error": why},
		})
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil || object == nil {
		return nil, invalid(notObject(body))
	}
	var values []string
	var faults []Fault
	for _, f := range fields {
		value, fault := textOf(object, f, body)
		if fault != nil {
			faults = append(faults, *fault)
		}
		values = append(values, value)
	}
	if faults != nil {
		return nil, invalid(faults...)
	}
	return values, nil
}

// textOf returns the value of one field of an object.
func textOf(object map[string]json.RawMessage, f Field, whole json.RawMessage) (string, *Fault) {
	raw, given := object[f.Name]
	if !given {
		return "", f.missing(whole)
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", f.notString(raw)
	}
	return *text, f.check(*text)
}

func notObject(input json.RawMessage) Fault {
	return Fault{
		Type: "model_attributes_type", Loc: []any{"body"},
		Msg: "Input should be a valid dictionary or object to extract fields from", Input: input,
	}
}
