// Package docs renders an OpenAPI document as a page with examples that people can send.
//
// The page is made once, from the document that clients use. Its assets are embedded, so it works without a
// network, under a policy that allows no foreign and no inline script. The package serves nothing itself. It knows
// the routes of the quick start in page.html and the answers in examples.json; test/docs compares them with the
// document.
package docs

import (
	"bytes"
	"cmp"
	_ "embed" // for the assets
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// Policy is the Content-Security-Policy of the page. It allows the page's own assets only.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Style, Script and Icon are the assets of the page. The server must serve them as style.css, script.js and icon.svg
// in the folder of the page.
var (
	//go:embed style.css
	Style []byte
	//go:embed script.js
	Script []byte
	//go:embed icon.svg
	Icon []byte

	//go:embed page.html
	pageText string

	//go:embed examples.json
	examplesText []byte
)

// view is the data of the template.
type view struct {
	Title    string
	Intro    []string
	Sections []section
	Schemas  []schema
}

type section struct {
	Name, Description string
	Operations        []operation
}

type operation struct {
	ID, Method, Path, Summary string
	Text                      []string
	Public                    bool
	Params                    []param
	Body                      string // an example, empty when there is none
	BodyType                  string // its media type
	BodySchema                kind
	Responses                 []response
	Curl                      string
}

type param struct {
	Name, In, Doc, Example string
	Required               bool
	Kind                   kind
}

type response struct {
	Status, Doc string
	Kind        kind
	Example     string // JSON; empty when there is none
}

type schema struct {
	Name   string
	Fields []field
}

type field struct {
	Name, Doc string
	Required  bool
	Enum      []string
	Kind      kind
}

// kind is the type of a value in words, such as "list of Cell". Ref is the name of a schema, to which the page
// links. It is the type itself, or the type of a list's items.
type kind struct {
	Before, Ref, After string
}

// Render returns the page for a document.
func Render(doc *huma.OpenAPI) ([]byte, error) {
	v := view{Title: doc.Info.Title, Intro: paragraphs(doc.Info.Description)}
	for _, tag := range doc.Tags {
		s := section{Name: tag.Name, Description: tag.Description}
		for _, op := range operations(doc) {
			if slices.Contains(op.Tags, tag.Name) {
				s.Operations = append(s.Operations, newOperation(doc, op))
			}
		}
		v.Sections = append(v.Sections, s)
	}
	for name, s := range doc.Components.Schemas.Map() {
		v.Schemas = append(v.Schemas, schema{name, fields(s)})
	}
	slices.SortFunc(v.Schemas, func(a, b schema) int { return cmp.Compare(a.Name, b.Name) })
	var out bytes.Buffer
	if err := template.Must(template.New("page").Parse(pageText)).Execute(&out, v); err != nil {
		return nil, fmt.Errorf("render the documentation page: %w", err)
	}
	return out.Bytes(), nil
}

// Order is the key of an operation's metadata for its position in its section, an int.
const Order = "order"

// operations returns all operations, sorted by their order, the number of slashes in their path, their path and
// their method.
func operations(doc *huma.OpenAPI) []*huma.Operation {
	var all []*huma.Operation
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Post, item.Get, item.Put, item.Delete} {
			if op != nil {
				all = append(all, op)
			}
		}
	}
	rank := func(method string) int {
		return slices.Index([]string{http.MethodPost, http.MethodGet, http.MethodPut, http.MethodDelete}, method)
	}
	slices.SortFunc(all, func(a, b *huma.Operation) int {
		return cmp.Or(
			cmp.Compare(order(a), order(b)),
			cmp.Compare(strings.Count(a.Path, "/"), strings.Count(b.Path, "/")),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(rank(a.Method), rank(b.Method)))
	})
	return all
}

func order(op *huma.Operation) int {
	n, _ := op.Metadata[Order].(int)
	return n
}

func newOperation(doc *huma.OpenAPI, op *huma.Operation) operation {
	o := operation{
		ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Text: paragraphs(op.Description),
		Public: op.Security != nil && len(op.Security) == 0,
	}
	for _, p := range op.Parameters {
		o.Params = append(o.Params, param{
			Name: p.Name, In: p.In, Doc: p.Description, Required: p.Required, Kind: kindOf(p.Schema), Example: exampleText(p),
		})
	}
	if op.RequestBody != nil {
		for _, mediaType := range slices.Sorted(maps.Keys(op.RequestBody.Content)) {
			content := op.RequestBody.Content[mediaType]
			o.BodyType, o.BodySchema = mediaType, kindOf(content.Schema)
			o.Body = bodyExample(doc, mediaType, content)
		}
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		shown := response{Status: status, Doc: r.Description}
		for _, mediaType := range slices.Sorted(maps.Keys(r.Content)) {
			shown.Kind = kindOf(r.Content[mediaType].Schema)
			if mediaType == "application/json" {
				shown.Example = answerExample(doc, r.Content[mediaType])
			}
			break
		}
		o.Responses = append(o.Responses, shown)
	}
	o.Curl = curl(o)
	return o
}

// curl returns the command that sends the example.
func curl(o operation) string {
	path := o.Path
	for _, p := range o.Params {
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", "$"+strings.ToUpper(p.Name))
		}
	}
	mark := "?"
	for _, p := range o.Params {
		if p.In == "query" && p.Example != "" {
			path += mark + p.Name + "=" + p.Example
			mark = "&"
		}
	}
	var b strings.Builder
	b.WriteString("curl")
	if o.Method != http.MethodGet {
		b.WriteString(" -X " + o.Method)
	}
	b.WriteString(" \"$URL" + path + "\"")
	if !o.Public {
		b.WriteString(" \\\n  -H \"Authorization: Bearer $TOKEN\"")
	}
	switch {
	case o.BodyType == "multipart/form-data":
		b.WriteString(" \\\n  -F file=@FILE")
	case o.Body == "" && o.BodyType != "":
		b.WriteString(" \\\n  -H \"Content-Type: " + o.BodyType + "\" \\\n  --data-binary @FILE")
	case o.Body == "":
	case o.BodyType == "application/json":
		b.WriteString(" \\\n  -H \"Content-Type: application/json\" \\\n  -d '" + strings.ReplaceAll(o.Body, "'", `'\''`) + "'")
	default:
		b.WriteString(" \\\n  -d '" + strings.ReplaceAll(o.Body, "'", `'\''`) + "'")
	}
	return b.String()
}

func bodyExample(doc *huma.OpenAPI, mediaType string, content *huma.MediaType) string {
	value := content.Example
	if value == nil {
		value = Example(doc, content.Schema)
	}
	if mediaType != "application/json" {
		text, _ := value.(string) // empty if there is no example: then the body is a file
		return text
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return ""
	}
	return string(text)
}

// Example builds a value of a schema from the examples of its parts. Optional parts without an example are absent.
func Example(doc *huma.OpenAPI, s *huma.Schema) any {
	if s.Ref != "" {
		s = doc.Components.Schemas.SchemaFromRef(s.Ref)
	}
	if len(s.Examples) > 0 {
		return s.Examples[0]
	}
	if s.Type != huma.TypeObject {
		return nil
	}
	value := map[string]any{}
	for name, p := range s.Properties {
		if v := Example(doc, p); v != nil {
			if m, ok := v.(map[string]any); !ok || len(m) > 0 {
				value[name] = v
			}
		}
	}
	return value
}

// maxDepth is the maximum depth of nested schemas in an example of an answer.
const maxDepth = 4

// recorded are real answers by the names of their schemas.
var recorded = sync.OnceValue(func() (all map[string]json.RawMessage) {
	if err := json.Unmarshal(examplesText, &all); err != nil {
		panic(err) // cannot happen: a test reads the embedded file
	}
	return all
})

// answerExample returns an example of an answer as JSON.
func answerExample(doc *huma.OpenAPI, content *huma.MediaType) string {
	value := content.Example
	if value == nil {
		value = answer(doc, content.Schema, maxDepth)
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil || value == nil {
		return ""
	}
	return string(text)
}

// answer builds a value of a schema as the server could send it. The value has the recorded answers and the
// required parts. It also has the optional parts with an example, or with a value that means success.
func answer(doc *huma.OpenAPI, s *huma.Schema, depth int) any {
	switch {
	case s == nil || depth == 0:
		return nil
	case s.Ref != "":
		if raw, ok := recorded()[s.Ref[strings.LastIndex(s.Ref, "/")+1:]]; ok {
			return raw
		}
		return answer(doc, doc.Components.Schemas.SchemaFromRef(s.Ref), depth-1)
	case len(s.Examples) > 0:
		return s.Examples[0]
	case len(s.Enum) > 0:
		return typical(s.Enum)
	case s.Format == "date-time":
		return "2026-05-04T10:20:30Z"
	}
	switch s.Type {
	case huma.TypeArray:
		if item := answer(doc, s.Items, depth); item != nil {
			return []any{item}
		}
		return []any{}
	case huma.TypeObject:
		return answerObject(doc, s, depth)
	case huma.TypeString:
		return "…"
	case huma.TypeInteger, huma.TypeNumber:
		return 0
	case huma.TypeBoolean:
		return false
	}
	return nil
}

// typical returns the value of an enumeration for an example: the value that means success, or the first value.
func typical(enum []any) any {
	for _, v := range enum {
		if isSuccess(v) {
			return v
		}
	}
	return enum[0]
}

func isSuccess(v any) bool {
	return slices.Contains([]any{"ready", "done", "idle", "ok", "allowlist", "file", "execute_result"}, v)
}

// answerObject is answer for an object.
func answerObject(doc *huma.OpenAPI, s *huma.Schema, depth int) any {
	value := map[string]any{}
	for name, p := range s.Properties {
		if !slices.Contains(s.Required, name) && len(p.Examples) == 0 && !slices.ContainsFunc(p.Enum, isSuccess) {
			continue
		}
		if v := answer(doc, p, depth); v != nil {
			value[name] = v
		}
	}
	return value
}

func fields(s *huma.Schema) []field {
	var all []field
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		f := field{Name: name, Doc: p.Description, Required: slices.Contains(s.Required, name), Kind: kindOf(p)}
		for _, e := range p.Enum {
			f.Enum = append(f.Enum, fmt.Sprint(e))
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b field) int { return boolRank(a.Required) - boolRank(b.Required) })
	return all
}

func boolRank(first bool) int {
	if first {
		return 0
	}
	return 1
}

func kindOf(s *huma.Schema) kind {
	switch {
	case s == nil:
		return kind{}
	case s.Ref != "":
		return kind{Ref: s.Ref[strings.LastIndex(s.Ref, "/")+1:]}
	case s.Type == huma.TypeArray && s.Items != nil:
		k := kindOf(s.Items)
		k.Before = "list of " + k.Before
		return k
	case s.Type == "" && len(s.OneOf) > 0:
		k := kindOf(s.OneOf[0])
		for _, other := range s.OneOf[1:] {
			k.Before += " or " + kindOf(other).Before
		}
		return k
	case s.Type == "":
		return kind{Before: "anything"}
	case s.Format == "date-time":
		return kind{Before: "time"}
	case s.Format == "binary":
		return kind{Before: "bytes"}
	case s.Type == huma.TypeObject && len(s.Properties) == 0:
		return kind{Before: "map"}
	}
	return kind{Before: s.Type}
}

// exampleText returns the example of a parameter as text, or "" if it has no example.
func exampleText(p *huma.Param) string {
	value := p.Example
	if value == nil && p.Schema != nil && len(p.Schema.Examples) > 0 {
		value = p.Schema.Examples[0]
	}
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

func paragraphs(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n\n")
}
