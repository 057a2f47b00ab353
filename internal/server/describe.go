package server

import (
	"reflect"

	"cellhold"
	"cellhold/internal/server/article"

	"github.com/danielgtaylor/huma/v2"
)

// The tags of the OpenAPI document.
const (
	tagSessions  = "Sessions"
	tagSnapshots = "Snapshots"
	tagCells     = "Cells"
	tagCommands  = "Commands"
	tagEvents    = "Events"
	tagFiles     = "Files"
	tagPackages  = "Packages"
	tagRuns      = "Runs"
	tagPorts     = "Ports"
	tagState     = "State"
)

var tags = []*huma.Tag{
	{Name: tagSessions, Description: "A session is one sandbox with its kernels, files and events."},
	{Name: tagSnapshots, Description: "You can save the state of a session: to hibernate it, to roll it back later, and to fork other sessions from it. Snapshots are private to the session and are deleted with it."},
	{Name: tagCells, Description: "A cell is one piece of code, with its outputs and its result. A cell runs once. The cells of a kernel run one after the other and share variables."},
	{Name: tagCommands, Description: "A command is a program that runs in the sandbox outside the kernels. It has standard streams and signals, or a terminal."},
	{Name: tagEvents, Description: "The history of a session is a list of numbered events. To watch live, to reconnect or to read the history, read the events after number N."},
	{Name: tagFiles, Description: "The files of the sandbox, the files in /mnt/data/output, and the notebook."},
	{Name: tagPackages, Description: "Packages that are installed in a session in addition to those of its image."},
	{Name: tagRuns, Description: "A run executes code in a sandbox that is used once: for graders, for reward functions, and for code that needs no session."},
	{Name: tagPorts, Description: "Programs in the sandbox that listen on a port of its loopback. You reach them through the server, with HTTP and WebSockets."},
	{Name: tagState, Description: "The state of the server."},
	{Name: article.Tag, Description: "A small API at the root path, from the article that this project started with. Each user has one session, named by user_id. Answers are text."},
}

const introduction = `Runs code in stateful Jupyter kernels inside gVisor sandboxes.

Create a session, submit cells to it, read their outputs. Send the header "Authorization: Bearer TOKEN" with each request. Closing the connection does not stop the code. Errors are problem details (RFC 9457); decide by their kind. An exception in the code is not an API error: the cell has the status "error". Durations in bodies are seconds. The query parameter wait takes "30s", "2m" or seconds.`

const eventsText = `As JSON: one page of events. Without wait, the answer comes at once. With wait, it comes as soon as there is an event. Read the next page with after=next, until events is empty.

As server-sent events (Accept: text/event-stream, or stream=sse): all events after N, then each new event as it happens, until the session ends. The id is the event's number, the event field its type, the data the event as JSON. A comment is sent after each 15 s without an event. When the server shuts down, a last event "bye" has the number to continue after. A reader can also reconnect with Last-Event-ID. The server disconnects a reader that reads nothing for 30 s; it can reconnect with its last number.

Ignore event types that you do not know.`

var securitySchemes = map[string]*huma.SecurityScheme{
	"token": {Type: "http", Scheme: "bearer", Description: "The token that the server created at its first start, or another token of its token file."},
}

// describe adds the facts that huma cannot read from the Go types to the document.
func describe(api huma.API) {
	doc := api.OpenAPI()
	schemaOf(api, Bye{}) // it is sent as stream data, so no operation refers to it
	schemas := doc.Components.Schemas.Map()
	delete(schemas, "ErrorModel") // the API sends huma's own errors as Problem
	delete(schemas, "ErrorDetail")
	schemas["Limits"].AdditionalProperties = false // a misspelt limit must be an error, not ignored
	for _, name := range []string{"memory", "disk", "tmp", "output"} {
		describeSize(schemas["Limits"].Properties[name])
	}
	for _, name := range []string{"Egress", "RunRequest", "RunFile", "RunTest"} { // a misspelt policy must be an error too
		schemas[name].AdditionalProperties = false
	}
	for name, s := range schemas {
		for _, p := range s.Properties {
			p.Nullable = false // lists can be empty, never null
		}
		if !isRequest(name) {
			s.AdditionalProperties = true // later versions can add members; readers must ignore unknown ones
		}
	}
	describeOutput(schemas["Output"])
	requestExample(doc.Paths["/v1/sessions"].Post, map[string]any{"user": "ann", "metadata": map[string]any{"purpose": "a first look"}})
	requestExample(doc.Paths["/v1/sessions/{id}/cells"].Post, map[string]any{"code": "6 * 7", "timeout": 30})
	requestExample(doc.Paths[commandsPath].Post, map[string]any{"command": "echo hello", "timeout": 30})
	doc.Paths[folderPath].Post.RequestBody = uploadForm()
	requestExample(doc.Paths["/v1/sessions/{id}/packages"].Post, map[string]any{"requirements": []string{"tabulate>=0.9"}})
	submitted := doc.Paths["/v1/sessions/{id}/cells"].Post.Responses
	submitted["202"].Description = "The cell is not done: it is queued, or the wait ended"
	submitted["200"].Headers = submitted["202"].Headers
}

// describeSize allows a limit to be a number of bytes or a text such as "2GiB".
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

// describeOutput lists the fields that each type of output always has.
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

// isRequest reports whether a schema is a request's body or a part of one. Unknown members of a request are
// refused.
func isRequest(name string) bool {
	return name == "CreateSession" || name == "StartCommand" || name == "SendSignal" || name == "SubmitCell" || name == "CompleteCode" || name == "InspectCode" || name == "CheckCode" || name == "InstallPackages" || name == "Limits" || name == "Egress" || name == "Secret" || name == "RunRequest" || name == "RunFile" || name == "RunTest" || name == "StartRuns"
}

// requestExample gives a request an example that every server accepts. An example made of all members'
// examples would ask for limits that a server can refuse.
func requestExample(op *huma.Operation, value any) {
	op.RequestBody.Content["application/json"].Example = value
}

// schemaOf returns a reference to the schema of a value's type.
func schemaOf(api huma.API, value any) *huma.Schema {
	return api.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(value), true, "")
}
