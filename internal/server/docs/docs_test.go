package docs

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// document returns a small OpenAPI document with one type. The type thing has a name, an optional note, a list and a
// state.
func document(t *testing.T) *huma.OpenAPI {
	t.Helper()
	type part struct {
		Size int `json:"size"`
	}
	type thing struct {
		Name  string `json:"name" example:"box"`
		Note  string `json:"note,omitempty"`
		Parts []part `json:"parts"`
		State string `json:"state" enum:"new,old"`
	}
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schema := registry.Schema(reflect.TypeFor[thing](), true, "thing")
	answer := &huma.Response{Description: "A thing", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
	op := func(id, method string) *huma.Operation {
		return &huma.Operation{OperationID: id, Method: method, Path: "/things/{id}", Summary: id, Tags: []string{"Things"}, Responses: map[string]*huma.Response{"200": answer}}
	}
	return &huma.OpenAPI{
		Info: &huma.Info{Title: "test"}, Tags: []*huma.Tag{{Name: "Things"}},
		Paths:      map[string]*huma.PathItem{"/things/{id}": {Get: op("look", "GET"), Put: op("replace", "PUT")}},
		Components: &huma.Components{Schemas: registry},
	}
}

func TestTheExampleOfAnAnswerHasOnlyTheRequiredFields(t *testing.T) {
	doc := document(t)
	example := answerExample(doc, doc.Paths["/things/{id}"].Get.Responses["200"].Content["application/json"])
	var got struct {
		Name  string
		Note  *string
		State string
		Parts []map[string]any
	}
	if err := json.Unmarshal([]byte(example), &got); err != nil {
		t.Fatal(err)
	}
	if got.Name != "box" || got.Note != nil || got.State != "new" || len(got.Parts) != 1 || got.Parts[0]["size"] == nil {
		t.Errorf("got the example %s, want the name box, the state new, one part with a size, and no note", example)
	}
}

func TestThePageHasAllMethodsAndTheQuickStart(t *testing.T) {
	page, err := Render(document(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`id="look"`, `id="replace"`, `<i class="PUT">`, `id="quick-start"`, `id="search"`, "Example of an answer, status 200"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not contain %s", want)
		}
	}
	if strings.Contains(string(Script), "innerHTML") {
		t.Error("the script uses innerHTML, want text only: an answer could contain hostile HTML")
	}
}

func TestTheScriptUsesOnlyIdsOfThePage(t *testing.T) {
	for _, m := range regexp.MustCompile(`getElementById\("([^"]+)"\)`).FindAllStringSubmatch(string(Script), -1) {
		if !strings.Contains(pageText, `id="`+m[1]+`"`) {
			t.Errorf("the script uses #%s, and the page has no such element", m[1])
		}
	}
}
