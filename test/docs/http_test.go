package docs

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "rewrite docs/reference/http-api.md")

// api is the part of an OpenAPI document that the page shows.
type api struct {
	Info struct{ Description string }
	Tags []struct{ Name, Description string }

	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

type operation struct {
	Summary, Description, OperationID string
	Tags                              []string
	Security                          *[]map[string][]string
	Parameters                        []struct {
		Name, In, Description string
		Required              bool
		Schema                schema
	}
	RequestBody struct{ Content map[string]media } `yaml:"requestBody"`
	Responses   map[string]struct {
		Description string
		Content     map[string]media
	}
}

type media struct{ Schema schema }

type schema struct {
	Ref         string `yaml:"$ref"`
	Type        any    // a name, or a list of names
	Format      string
	Description string
	Enum        []any
	Items       *schema
	Properties  map[string]schema
	Required    []string
	Default     any
	OneOf       []schema `yaml:"oneOf"`
}

// openAPI returns the committed document.
func openAPI(t *testing.T) *api {
	t.Helper()
	text, err := os.ReadFile("../../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc api
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return &doc
}

func TestTheGeneratedPageOfTheHTTPAPIIsCurrent(t *testing.T) {
	const path = "../../docs/reference/http-api.md"
	got := []byte(page(openAPI(t)))
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/reference/http-api.md is old (%v); run: go test ./test/docs -run Generated -update", err)
	}
}

// page returns the page about the HTTP API.
func page(doc *api) string {
	var b strings.Builder
	b.WriteString("<!-- generated: go test ./test/docs -run Generated -update -->\n\n# HTTP API\n\n" +
		"This page is made from [api/openapi.yaml](../../api/openapi.yaml). A running server shows it at `/docs`, with examples that you can\n" +
		"send, and gives the document for programs at `/openapi.json`. [Errors](errors.md), [events](events.md), [cells](cells.md) and\n" +
		"[limits](limits.md) have pages of their own.\n\n" + doc.Info.Description + "\n")
	for _, tag := range doc.Tags {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| Request | Purpose |\n|---|---|\n", tag.Name, tag.Description)
		ops := doc.operations(tag.Name)
		for _, o := range ops {
			fmt.Fprintf(&b, "| [`%s %s`](#%s) | %s |\n", o.method, o.path, anchorOf(o.Summary), cell(o.Summary))
		}
		for _, o := range ops {
			o.write(&b)
		}
	}
	b.WriteString("\n## Schemas\n")
	for _, name := range slices.Sorted(maps.Keys(doc.Components.Schemas)) {
		fmt.Fprintf(&b, "\n### %s\n\n| Field | Type | Meaning |\n|---|---|---|\n", name)
		s := doc.Components.Schemas[name]
		for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
			mark := ""
			if slices.Contains(s.Required, field) {
				mark = " (required)"
			}
			p := s.Properties[field]
			fmt.Fprintf(&b, "| `%s`%s | %s | %s |\n", field, mark, p.kind(), cell(p.Description+oneOf(p.Enum)))
		}
	}
	return b.String()
}

// placed is an operation with its path and method.
type placed struct {
	operation
	method, path string
}

// operations returns the operations of a tag, by path and method.
func (doc *api) operations(tag string) (all []placed) {
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range []string{"post", "get", "put", "delete"} {
			if o, ok := doc.Paths[path][method]; ok && slices.Contains(o.Tags, tag) {
				all = append(all, placed{o, strings.ToUpper(method), path})
			}
		}
	}
	return all
}

// write writes the section of an operation.
func (o placed) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n### %s\n\n`%s %s`", o.Summary, o.method, o.path)
	if o.Security != nil && len(*o.Security) == 0 {
		b.WriteString(" needs no token.")
	}
	b.WriteString("\n")
	if o.Description != "" {
		b.WriteString("\n" + o.Description + "\n")
	}
	if len(o.Parameters) > 0 {
		b.WriteString("\n| Parameter | In | Type | Meaning |\n|---|---|---|---|\n")
	}
	for _, p := range o.Parameters {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", p.Name, p.In, p.Schema.kind(), cell(p.Description+oneOf(p.Schema.Enum)))
	}
	if kinds := kindsOf(o.RequestBody.Content); kinds != "" {
		fmt.Fprintf(b, "\nBody: %s.\n", kinds)
	}
	b.WriteString("\n| Status | Body | Meaning |\n|---|---|---|\n")
	for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
		r := o.Responses[status]
		name := "`" + status + "`"
		if status == "default" {
			name = "others"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, kindsOf(r.Content), cell(r.Description))
	}
}

// kindsOf returns the media types of a body with their schemas.
func kindsOf(content map[string]media) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(content)) {
		s := content[name].Schema
		all = append(all, strings.TrimSpace("`"+name+"` "+s.kind()))
	}
	return strings.Join(all, ", ")
}

// kind returns the type of a schema in words.
func (s *schema) kind() string {
	switch {
	case s.Ref != "":
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		return "[" + name + "](#" + strings.ToLower(name) + ")"
	case s.Items != nil:
		return "list of " + s.Items.kind()
	case len(s.OneOf) > 0:
		var all []string
		for _, one := range s.OneOf {
			all = append(all, one.kind())
		}
		return strings.Join(all, " or ")
	case s.Format == "date-time":
		return "time"
	case s.Format == "binary":
		return "bytes"
	case s.Type == nil:
		return ""
	}
	if list, ok := s.Type.([]any); ok {
		return strings.ReplaceAll(strings.Trim(fmt.Sprint(list), "[]"), " ", " or ")
	}
	return fmt.Sprint(s.Type)
}

// oneOf returns the sentence about the values of an enumeration.
func oneOf(enum []any) string {
	if len(enum) == 0 {
		return ""
	}
	var all []string
	for _, e := range enum {
		all = append(all, fmt.Sprintf("`%v`", e))
	}
	return " One of " + strings.Join(all, ", ") + "."
}

// cell returns a text for a cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(strings.Join(strings.Fields(text), " "))
}
