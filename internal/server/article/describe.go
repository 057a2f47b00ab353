package article

import (
	"net/http"
	"reflect"

	"cellhold/internal/server/docs"
	"cellhold/internal/server/fastapi"

	"github.com/danielgtaylor/huma/v2"
)

// Tag is the tag of the routes in the document.
const Tag = "Article"

// ArticleInvalid is the answer to a request with an invalid body.
type ArticleInvalid struct {
	Detail []fastapi.Fault `json:"detail"`
}

// ArticleCode is the body of /execute.
type ArticleCode struct {
	User string `json:"user_id" minLength:"1" maxLength:"256" doc:"Label of the user, as sent to /start_session." example:"user_test"`
	Code string `json:"code" doc:"Source code to run, at most 4 MiB." example:"x = 42\nprint(f\"x = {x}\")"`
}

// ArticleUser is the form of the routes that start, reset and end a session.
type ArticleUser struct {
	User string `json:"user_id" minLength:"1" maxLength:"256" doc:"Label of the user: any text. Never used as a path." example:"user_test"`
}

// describe adds the article's routes to the document, because they do not use huma.
func describe(api huma.API) {
	for i, r := range []struct {
		id, path, summary, text string
		body                    any
		answers                 map[string]any
	}{
		{"article-start", "/start_session", "Start a user's session",
			"Ends the user's previous session. The code has pd, np and plt imported. The body is a form, URL-encoded or multipart.",
			ArticleUser{}, map[string]any{"200": ArticleMessage{}}},
		{"article-execute", "/execute", "Run code in the user's session",
			"If the code raises, the answer is 400 with the traceback. If the kernel dies, the answer is 400 with the cause. Later requests get 409 until /reset.",
			ArticleCode{}, map[string]any{"200": ArticleReply{}, "400": ArticleFailure{}, "404": ArticleDetail{}, "408": ArticleDetail{}, "409": ArticleDetail{}}},
		{"article-reset", "/reset", "Restart the user's kernel",
			"Variables are lost. pd, np and plt are imported again.",
			ArticleUser{}, map[string]any{"200": ArticleMessage{}, "404": ArticleDetail{}}},
		{"article-end", "/end_session", "End the user's session",
			"Also deletes the session's notebook, unless the server keeps notebooks.",
			ArticleUser{}, map[string]any{"200": ArticleMessage{}, "404": ArticleDetail{}}},
		{"article-install", "/install_package", "Install a package",
			"Installs the package in the user's session from the server's package index, and imports it in the kernel. The time limit is five minutes. Every failure has status 500. The body can also be a form with the same fields.",
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
	"200": "Done", "400": "The code raised an exception, or the kernel died", "404": "The user has no session", "408": "The code was stopped by its timeout; the session can be used",
	"409": "The kernel is dead; call /reset", "422": "The body is invalid", "500": "The installation failed",
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
