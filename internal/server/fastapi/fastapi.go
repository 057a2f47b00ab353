// Package fastapi reads the bodies of requests like FastAPI, and refuses them with FastAPI's messages, for
// clients that were written for such a server.
//
// It reads only text fields, from forms and JSON objects. It does not limit the size of a body: the caller
// must do that with http.MaxBytesReader. The messages follow FastAPI 0.165 with pydantic 2.14; testdata has
// their recorded answers.
package fastapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"
)

// TooLarge is the message for a body above the caller's limit.
const TooLarge = "The body is too large."

// Field describes a text field.
type Field struct {
	Name     string
	Min, Max int // limits of the size in bytes; a Max of 0 means no limit
}

// Refusal is the answer to a request whose body cannot be read, or whose fields are missing or invalid.
type Refusal struct {
	Status int
	Detail any // a message, or a list of faults
}

// Body returns the JSON body of the answer.
func (r *Refusal) Body() any {
	return struct {
		Detail any `json:"detail"`
	}{r.Detail}
}

// Fault is one entry of the list in a 422 answer, with pydantic's messages.
type Fault struct {
	Type  string          `json:"type" doc:"Type of the fault." example:"missing"`
	Loc   []any           `json:"loc" doc:"Location: \"body\", then the field or the position in the JSON."`
	Msg   string          `json:"msg" doc:"Message of the fault." example:"Field required"`
	Input json.RawMessage `json:"input" doc:"Input at this location."`
	Ctx   map[string]any  `json:"ctx,omitempty" doc:"Numbers that belong to the fault."`
}

// null is the input of a fault without an input.
var null = json.RawMessage("null")

func invalid(faults ...Fault) *Refusal {
	return &Refusal{http.StatusUnprocessableEntity, faults}
}

// unreadable answers a body that could not be read or is not text.
func unreadable(err error) *Refusal {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &Refusal{http.StatusRequestEntityTooLarge, TooLarge}
	}
	return &Refusal{http.StatusBadRequest, "There was an error parsing the body"}
}

// check returns the fault of a field's value, or nil.
func (f Field) check(value string) *Fault {
	fault := Fault{Loc: []any{"body", f.Name}, Input: quote(value)}
	switch {
	case len(value) < f.Min:
		fault.Type, fault.Msg = "string_too_short", fmt.Sprintf("String should have at least %s", characters(f.Min))
		fault.Ctx = map[string]any{"min_length": f.Min}
	case f.Max > 0 && len(value) > f.Max:
		fault.Type, fault.Msg = "string_too_long", fmt.Sprintf("String should have at most %s", characters(f.Max))
		fault.Ctx = map[string]any{"max_length": f.Max}
	case !utf8.ValidString(value): // two invalid labels could become equal when they are stored
		fault.Type, fault.Msg = "string_unicode", "Input should be a valid string, unable to parse raw data as a unicode string"
	default:
		return nil
	}
	return &fault
}

func characters(n int) string {
	if n == 1 {
		return "1 character"
	}
	return fmt.Sprintf("%d characters", n)
}

func (f Field) missing(input json.RawMessage) *Fault {
	return &Fault{Type: "missing", Loc: []any{"body", f.Name}, Msg: "Field required", Input: input}
}

func (f Field) notString(input json.RawMessage) *Fault {
	return &Fault{Type: "string_type", Loc: []any{"body", f.Name}, Msg: "Input should be a valid string", Input: input}
}

func quote(s string) json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil {
		return null // cannot happen: every string can be encoded
	}
	return raw
}
