package docs

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The page /docs has parts that are written by hand: the quick start, and answers of the server.

func TestTheQuickStartHasRoutesOfTheAPI(t *testing.T) {
	text, err := os.ReadFile("../../internal/server/docs/page.html")
	if err != nil {
		t.Fatal(err)
	}
	_, start, _ := strings.Cut(string(text), `id="quick-start"`)
	start, _, _ = strings.Cut(start, "</article>")
	routes := regexp.MustCompile(`\$URL(/[^"?]*)`).FindAllStringSubmatch(start, -1)
	if len(routes) < 5 {
		t.Fatalf("the quick start has %d routes", len(routes))
	}
	doc := openAPI(t)
	for _, m := range routes {
		if route := strings.ReplaceAll(m[1], "$ID", "{id}"); doc.Paths[route] == nil {
			t.Errorf("the quick start has %s, and the API does not", route)
		}
	}
}

func TestTheRecordedAnswersFitTheirSchemas(t *testing.T) {
	text, err := os.ReadFile("../../internal/server/docs/examples.json")
	if err != nil {
		t.Fatal(err)
	}
	var answers map[string]any
	if err := json.Unmarshal(text, &answers); err != nil {
		t.Fatal(err)
	}
	doc := openAPI(t)
	for name, answer := range answers {
		doc.compare(t, name, &schema{Ref: "/" + name}, answer)
	}
}

// compare reports fields that a schema does not have, and required ones that are absent.
func (doc *api) compare(t *testing.T, at string, s *schema, value any) {
	t.Helper()
	if s.Ref != "" {
		named, ok := doc.Components.Schemas[s.Ref[strings.LastIndex(s.Ref, "/")+1:]]
		if !ok {
			t.Errorf("%s: no schema %s", at, s.Ref)
			return
		}
		s = &named
	}
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			if s.Items != nil {
				doc.compare(t, at+"[]", s.Items, item)
			}
		}
	case map[string]any:
		if len(s.Properties) == 0 {
			return // it can have any fields
		}
		for field, v := range value {
			if p, ok := s.Properties[field]; !ok {
				t.Errorf("%s has the field %s, which its schema does not have", at, field)
			} else {
				doc.compare(t, at+"."+field, &p, v)
			}
		}
		for _, field := range s.Required {
			if _, ok := value[field]; !ok {
				t.Errorf("%s has no %s, which is required", at, field)
			}
		}
	default:
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
			t.Errorf("%s is %v, want one of %v", at, value, s.Enum)
		}
	}
}
