package server

import (
	"reflect"

	"cellhold"
	"cellhold/internal/server/article"

	"github.com/danielgtaylor/huma/v2"
)

// The sections of the API's document.
const (
	tagSessions  = "Sessions"
	tagSnapshots = "Snapshots"
	tagCells     = "Cells"
	tagCommands  = "Commands"
	tagEvents    = "Events"
	tagFiles     = "Files"
	tagPackages  = "Packages"
	tagState     = "State"
)

var tags = []*huma.Tag{
	{Name: tagSessions, Description: "A session is one sandbox with its kernel, files and events."},
	{Name: tagSnapshots, Description: "The state of a session can be saved: to sleep without memory, to go back to, and to start other sessions from. What is saved is private to the session and ends with it."},
	{Name: tagCells, Description: "A cell is one piece of code and its fate. It runs once; cells of a kernel run one after the other and share their variables."},
	{Name: tagCommands, Description: "A command is a program that runs in the sandbox beside the kernel: with streams, standard input and signals, or with a terminal."},
	{Name: tagEvents, Description: "Everything that happens in a session is a numbered event. Watching live, reconnecting and reading history are the same: read after N."},
	{Name: tagFiles, Description: "The files of the sandbox, the notebook, and what the code wrote to /mnt/data/output."},
	{Name: tagPackages, Description: "Packages that are installed in a session, beside those of its image."},
	{Name: tagState, Description: "The server itself."},
	{Name: article.Tag, Description: "The small API of the article that this project grew from, at the root: one session a user, addressed by user_id, and answers as text."},
}

const introduction = `Runs code in stateful Jupyter kernels inside gVisor sandboxes.

Create a session, submit cells to it, read their outputs. Requests bear the header "Authorization: Bearer TOKEN". Hanging up ends the watching, never the running. Errors are problem details (RFC 9457) with a kind to decide by; code that raises is not an error of the API but a cell with the status "error". Durations in bodies are seconds; the query parameter wait takes "30s", "2m" or seconds.`

const eventsText = `As JSON: a page of events, at once, or with wait as soon as there is one; read on with after=next until events is empty.

As server-sent events (Accept: text/event-stream, or stream=sse): all events after N and then each new one as it happens, until the session has ended. The id of each is its number, the event its type, the data the event as JSON. A comment comes every 15 s when it is quiet. When the server shuts down, a last event "bye" says after which number to read on; reconnecting with Last-Event-ID does the same. A reader that takes nothing for 30 s is disconnected and can come back with its number.

Ignore types of event that you do not know.`

var securitySchemes = map[string]*huma.SecurityScheme{
	"token": {Type: "http", Scheme: "bearer", Description: "The token that the server made at its first start, or another line of its token file."},
}

// describe makes the document say what huma cannot know.
func describe(api huma.API) {
	doc := api.OpenAPI()
	schemaOf(api, Bye{}) // sent as data, so that no operation refers to it
	schemas := doc.Components.Schemas.Map()
	delete(schemas, "ErrorModel") // huma's own errors leave as Problem
	delete(schemas, "ErrorDetail")
	schemas["Limits"].AdditionalProperties = false // a misspelt limit must not be no limit
	for _, name := range []string{"memory", "disk", "tmp", "output"} {
		describeSize(schemas["Limits"].Properties[name])
	}
	schemas["Egress"].AdditionalProperties = false // nor a misspelt policy the server's default
	for name, s := range schemas {
		for _, p := range s.Properties {
			p.Nullable = false // lists are empty, never null
		}
		if !isRequest(name) {
			s.AdditionalProperties = true // readers ignore what they do not know; more may come
		}
	}
	describeOutput(schemas["Output"])
	requestExample(doc.Paths["/v1/sessions"].Post, map[string]any{"user": "ann", "metadata": map[string]any{"purpose": "a first look"}})
	requestExample(doc.Paths["/v1/sessions/{id}/cells"].Post, map[string]any{"code": "6 * 7", "timeout": 30})
	requestExample(doc.Paths[commandsPath].Post, map[string]any{"command": "echo hello", "timeout": 30})
	doc.Paths[folderPath].Post.RequestBody = uploadForm()
	requestExample(doc.Paths["/v1/sessions/{id}/packages"].Post, map[string]any{"requirements": []string{"tabulate>=0.9"}})
	submitted := doc.Paths["/v1/sessions/{id}/cells"].Post.Responses
	submitted["202"].Description = "The cell, which is not done: it was queued, or the wait is over"
	submitted["200"].Headers = submitted["202"].Headers
}

// describeSize lets a limit be a number of bytes or a text such as "2GiB".
func describeSize(s *huma.Schema) {
	number := &huma.Schema{Type: huma.TypeInteger, Format: s.Format, Minimum: s.Minimum}
	text := &huma.Schema{Type: huma.TypeString, Examples: []any{"2GiB"}}
	for _, one := range []*huma.Schema{number, text} {
		one.PrecomputeMessages()
		s.OneOf = append(s.OneOf, one)
	}
	s.Type, s.Format, s.Minimum = "", "", nil
	s.PrecomputeMessages()
}

// describeOutput says which fields each type of output always has.
func describeOutput(s *huma.Schema) {
	for _, kind := range []struct {
		output cellhold.EventType
		fields []string
	}{
		{cellhold.EventStream, []string{"name", "text"}},
		{cellhold.EventDisplayData, []string{"data", "metadata"}},
		{cellhold.EventExecuteResult, []string{"data", "metadata", "execution_count"}},
		{cellhold.EventError, []string{"ename", "evalue", "traceback"}},
	} {
		one := &huma.Schema{
			Type:                 huma.TypeObject,
			Properties:           map[string]*huma.Schema{"output_type": {Type: huma.TypeString, Enum: []any{string(kind.output)}}},
			AdditionalProperties: true,
			Required:             kind.fields,
		}
		one.PrecomputeMessages()
		s.OneOf = append(s.OneOf, one)
	}
	s.Properties["execution_count"].Nullable = true
}

// isRequest reports whether a schema is (part of) a request's body, where unknown members are
// refused.
func isRequest(name string) bool {
	return name == "CreateSession" || name == "StartCommand" || name == "SendSignal" || name == "SubmitCell" || name == "InstallPackages" || name == "Limits" || name == "Egress" || name == "Secret"
}

// requestExample gives a request an example that every server takes, where one made of all
// members' examples would ask for limits that a server may refuse.
func requestExample(op *huma.Operation, value any) {
	op.RequestBody.Content["application/json"].Example = value
}

// schemaOf returns a reference to the schema of a value's type.
func schemaOf(api huma.API, value any) *huma.Schema {
	return api.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(value), true, "")
}
