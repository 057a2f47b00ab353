// Package fastapi reads the bodies of requests as FastAPI does, and refuses them in FastAPI's
// words, for clients that were written for such a server.
//
// It knows text fields only, in forms of both kinds and in JSON objects. It refuses to bound the
// body: its caller does that, with http.MaxBytesReader. The texts follow FastAPI 0.165 with
// pydantic 2.14; testdata holds what those really answered.
package fastapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"
)

// TooLarge is the sentence of the refusal of a body that is larger than its caller allows.
const TooLarge = "The body is too large."

// Field says what a text field must be.
type Field struct {
	Name     string
	Min, Max int // its bytes; a Max of 0 means no bound
}

// Refusal is the answer to a request that could not be read.
type Refusal struct {
	Status int
	Detail any // a sentence, or a list of faults
}

// Body returns what to answer with, as JSON.
func (r *Refusal) Body() any {
	return struct {
		Detail any `json:"detail"`
	}{r.Detail}
}

// Fault is one entry of the list in a 422, in pydantic's words.
type Fault struct {
	Type  string          `json:"type" doc:"What sort of fault it is." example:"missing"`
	Loc   []any           `json:"loc" doc:"Where it is: \"body\", then the field or the position in the JSON."`
	Msg   string          `json:"msg" doc:"The fault in words." example:"Field required"`
	Input json.RawMessage `json:"input" doc:"What was given there."`
	Ctx   map[string]any  `json:"ctx,omitempty" doc:"Figures that belong to the fault."`
}

// null is the input of a fault where nothing was given.
var null = json.RawMessage("null")

func invalid(faults ...Fault) *Refusal {
	return &Refusal{http.StatusUnprocessableEntity, faults}
}

// unreadable answers when a body could not be read or is no text.
func unreadable(err error) *Refusal {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &Refusal{http.StatusRequestEntityTooLarge, TooLarge}
	}
	return &Refusal{http.StatusBadRequest, "There was an error parsing the body"}
}

// check returns what is wrong with the value of a field, or nil.
func (f Field) check(value string) *Fault {
	fault := Fault{Loc: []any{"body", f.Name}, Input: quote(value)}
	switch {
	case len(value) < f.Min:
		fault.Type, fault.Msg = "string_too_short", fmt.Sprintf("String should have at least %s", characters(f.Min))
		fault.Ctx = map[string]any{"min_length": f.Min}
	case f.Max > 0 && len(value) > f.Max:
		fault.Type, fault.Msg = "string_too_long", fmt.Sprintf("String should have at most %s", characters(f.Max))
		fault.Ctx = map[string]any{"max_length": f.Max}
	case !utf8.ValidString(value): // two such labels could become one when they are stored
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
