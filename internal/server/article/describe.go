package article

import (
	"net/http"
	"reflect"

	"cellhold/internal/server/docs"
	"cellhold/internal/server/fastapi"

	"github.com/danielgtaylor/huma/v2"
)

// Tag is the section of the document that the routes are in.
const Tag = "Article"

// ArticleInvalid is the answer to a request whose body is not as it should be.
type ArticleInvalid struct {
	Detail []fastapi.Fault `json:"detail"`
}

// ArticleCode is the body of /execute.
type ArticleCode struct {
	User string `json:"user_id" minLength:"1" maxLength:"256" doc:"The label that /start_session was given." example:"user_test"`
	Code string `json:"code" doc:"The source to run; 4 MiB at most." example:"x = 42\nprint(f\"x = {x}\")"`
}

// ArticleUser is the form of the other routes.
type ArticleUser struct {
	User string `json:"user_id" minLength:"1" maxLength:"256" doc:"A label of the user; any text, never a path." example:"user_test"`
}

// describe adds the article's routes to the document. They are handled without huma.
func describe(api huma.API) {
	for i, r := range []struct {
		id, path, summary, text string
		body                    any
		answers                 map[string]any
	}{
		{"article-start", "/start_session", "Start a user's session",
			"The user's earlier session is ended. pd, np and plt are imported already. A form of either kind.",
			ArticleUser{}, map[string]any{"200": ArticleMessage{}}},
		{"article-execute", "/execute", "Run code in the user's session",
			"Code that raises is answered with 400 and the traceback. A dead kernel is 400 with its cause when it dies, and 409 afterwards until /reset.",
			ArticleCode{}, map[string]any{"200": ArticleReply{}, "400": ArticleFailure{}, "404": ArticleDetail{}, "408": ArticleDetail{}, "409": ArticleDetail{}}},
		{"article-reset", "/reset", "Restart the user's kernel",
			"Variables are lost; pd, np and plt are imported again.",
			ArticleUser{}, map[string]any{"200": ArticleMessage{}, "404": ArticleDetail{}}},
		{"article-end", "/end_session", "End the user's session",
			"Its notebook is deleted, unless the server is told to keep notebooks.",
			ArticleUser{}, map[string]any{"200": ArticleMessage{}, "404": ArticleDetail{}}},
		{"article-install", "/install_package", "Install a package",
			"Installs it in the user's session alone, from the server's package index, and imports it in the kernel. Takes five minutes at the most. Every failure is 500. A form with the same fields is read as well.",
			ArticlePackage{}, map[string]any{"200": ArticleInstalled{}, "404": ArticleDetail{}, "500": ArticleDetail{}}},
	} {
		op := &huma.Operation{
			OperationID: r.id, Method: http.MethodPost, Path: r.path, Tags: []string{Tag},
			Summary: r.summary, Description: r.text, Responses: map[string]*huma.Response{},
			Metadata: map[string]any{docs.Order: i},
		}
		for status, body := range r.answers {
			op.Responses[status] = response(api, status, body)
		}
		if r.body != nil {
			op.RequestBody = requestBody(api, r.body)
			op.Responses["422"] = response(api, "422", ArticleInvalid{})
		}
		api.OpenAPI().AddOperation(op)
	}
}

var statusText = map[string]string{
	"200": "Done", "400": "The code raised, or its kernel died", "404": "The user has no session", "408": "The code took too long and was stopped; the session is usable",
	"409": "The kernel is dead; see /reset", "422": "The body is not as it should be", "500": "It could not be installed",
}

func response(api huma.API, status string, body any) *huma.Response {
	return &huma.Response{
		Description: statusText[status],
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, body)}},
	}
}

func requestBody(api huma.API, body any) *huma.RequestBody {
	content := map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, body)}}
	if _, form := body.(ArticleUser); form {
		content = map[string]*huma.MediaType{
			"application/x-www-form-urlencoded": {Schema: schemaOf(api, body), Example: "user_id=user_test"},
		}
	}
	return &huma.RequestBody{Required: true, Content: content}
}

// schemaOf returns a reference to the schema of a value's type.
func schemaOf(api huma.API, value any) *huma.Schema {
	return api.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(value), true, "")
}
