package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"cellhold"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// maxFiles is the maximum number of written files that a result names.
	maxFiles = 20
	// linked is the first version of the protocol that has resource links.
	linked = "2025-06-18"
)

// result collects the parts of the answer of a tool.
type result struct {
	ctx       context.Context // ends when the time for images is over
	id        cellhold.SessionID
	text      strings.Builder
	images    []sdk.Content
	tried     int // images, damaged ones included
	links     []sdk.Content
	unshown   bool // the notebook has results that the answer cannot show
	failed    bool
	traceback string
}

// line adds a line.
func (r *result) line(format string, args ...any) { r.add(fmt.Sprintf(format, args...)) }

// add adds a text, which begins on a line of its own.
func (r *result) add(text string) {
	if text == "" {
		return
	}
	if r.text.Len() > 0 && !strings.HasSuffix(r.text.String(), "\n") {
		r.text.WriteByte('\n')
	}
	r.text.WriteString(text)
}

// note adds the note of a session as a line, before the output.
func (r *result) note(text string) {
	if text != "" {
		r.text.WriteString(text + "\n")
	}
}

// content returns the answer: bounded text, a last line, images and links.
func (r *result) content(last, more string, links bool) *sdk.CallToolResult {
	most := maxText
	if r.failed {
		most = maxFailure
	}
	traceback := shorten(r.traceback, most/2, "The middle is omitted.")
	body := shorten(r.text.String(), most-min(most/2, len(traceback)), more)
	r.text.Reset()
	r.add(body)
	r.add(traceback)
	r.add(last)
	content := append([]sdk.Content{&sdk.TextContent{Text: r.text.String()}}, r.images...)
	if links {
		content = append(content, r.links...)
	}
	return &sdk.CallToolResult{Content: content, IsError: r.failed}
}

// showCell returns the answer for a cell.
func (c call) showCell(ctx context.Context, cell cellhold.Cell, note string) *sdk.CallToolResult {
	ctx, cancel := context.WithTimeout(ctx, imageTime)
	defer cancel()
	r := &result{ctx: ctx, id: cell.Session}
	r.note(note)
	for _, o := range cell.Outputs {
		r.output(o)
	}
	stream := "stdout"
	if !slices.ContainsFunc(cell.Outputs, func(o cellhold.Output) bool { return o.Type == cellhold.EventStream && o.Name == stream }) {
		stream = "stderr"
	}
	more := fmt.Sprintf("Read them with read_file, path %q and an offset.", textURI(cell.Session, cell.ID, stream))
	if cell.Truncated {
		r.line("[%d bytes of output are not shown. %s]", cell.Omitted, more)
	}
	r.ending(cell)
	files := r.files(cell)
	if r.unshown {
		r.links = append(r.links, &sdk.ResourceLink{URI: notebookURI(cell.Session), Name: "notebook.ipynb", MIMEType: notebookType,
			Description: "Notebook of the session with all outputs"})
	}
	status := string(cell.Status)
	if cell.State != cellhold.CellDone {
		status = string(cell.State)
	}
	parts := []string{"session " + string(cell.Session), "cell " + string(cell.ID), status}
	if !cell.Started.IsZero() && !cell.Ended.IsZero() {
		parts = append(parts, seconds(cell.Ended.Sub(cell.Started)))
	}
	if files != "" {
		parts = append(parts, "wrote "+files)
	}
	return r.content("["+strings.Join(parts, " · ")+"]", more, c.request.ProtocolVersion() >= linked)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", max(d, 0).Seconds()) }

// ending adds what a model must know about the state of a cell and its kernel.
func (r *result) ending(cell cellhold.Cell) {
	cause := plain(cell.Cause)
	survive := "Variables survive."
	switch status := cell.Status; {
	case cell.State == cellhold.CellQueued:
		r.line("The code waits in the queue behind %d cells. Call wait with cell_id %q, or interrupt.", cell.Position, cell.ID)
		return
	case cell.State == cellhold.CellRunning:
		r.line("The code is still running. Call wait with cell_id %q to get more output, or interrupt.", cell.ID)
		return
	case status == cellhold.StatusOK:
		return
	case status == cellhold.StatusError:
		r.failed = true
		return
	case status == cellhold.StatusCancelled:
		survive = "The code did not run."
	case status == cellhold.StatusTimeout && strings.Contains(cause, "killed"):
		survive = "Variables are lost; files stay."
	case status == cellhold.StatusLost:
		survive = "Variables are lost."
	case status.Died():
		survive = "Variables are lost; files stay. If the next call fails, call restart."
	}
	r.failed = true
	if cause == "" {
		cause = "The code ended: " + string(cell.Status) + "."
	}
	r.traceback = strings.TrimSuffix(r.traceback, "\n")
	if r.traceback != "" {
		r.traceback += "\n"
	}
	r.traceback += cause
	if !strings.Contains(cause, "variables") { // the server's sentence can say it already
		r.traceback += " " + survive
	}
}

// output adds one output of a cell.
func (r *result) output(o cellhold.Output) {
	switch o.Type {
	case cellhold.EventStream:
		r.stream(plain(o.Text))
	case cellhold.EventError:
		text := strings.Join(o.Traceback, "\n")
		if strings.TrimSpace(text) == "" {
			text = o.Exception()
		}
		r.traceback = plain(text)
	case cellhold.EventDisplayData, cellhold.EventExecuteResult:
		r.display(o.Data)
	}
}

// stream adds text of a stream, which continues the text before it.
func (r *result) stream(text string) { r.text.WriteString(text) }

// display adds a result: an image if it has one, otherwise its text.
func (r *result) display(data map[string]json.RawMessage) {
	for _, kind := range []string{"image/png", "image/jpeg"} {
		if value, ok := data[kind]; ok {
			r.image(kind, value)
			return
		}
	}
	text := ""
	_ = json.Unmarshal(data["text/plain"], &text) // a value that is not text is not shown
	text = plain(text)
	if kind := r.richer(data, text); kind != "" {
		r.unshown = true
		r.line("[%s is not shown here. The notebook has it: %s]", kind, notebookURI(r.id))
	}
	if text == "" {
		for _, kind := range []string{"text/markdown", "text/latex", "application/json"} {
			if value, ok := data[kind]; ok {
				text = jsonText(value)
				break
			}
		}
	}
	r.add(text)
	if text != "" {
		r.text.WriteByte('\n')
	}
}

// richer returns the type of a result that says more than its text, or "".
func (r *result) richer(data map[string]json.RawMessage, text string) string {
	for _, kind := range slices.Sorted(maps.Keys(data)) {
		switch {
		case strings.Contains(kind, "plotly"):
			return "An interactive plotly chart"
		case strings.Contains(kind, "vega"):
			return "A Vega chart"
		case kind == "image/svg+xml":
			return "An SVG image"
		case kind == "application/pdf":
			return "A PDF"
		case kind == "text/html" && (text == "" || strings.HasPrefix(text, "<")):
			return "HTML"
		case strings.HasPrefix(kind, "image/"):
			return "An image of type " + shown(kind)
		}
	}
	return ""
}

// jsonText returns the text of a value: itself, or its JSON.
func jsonText(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return plain(text)
	}
	return plain(string(value))
}

// image adds an image, or a note if it cannot be shown.
func (r *result) image(kind string, value json.RawMessage) {
	// Damaged images count too: the time to decode them can be the same.
	if r.tried++; r.tried > maxImages {
		r.unshown = true
		r.line("[One more image: an answer has at most %d. The notebook has it: %s]\n", maxImages, notebookURI(r.id))
		return
	}
	raw, err := decodeBase64(value)
	if err == nil {
		var image *sdk.ImageContent
		if image, err = picture(r.ctx, raw); err == nil {
			r.images = append(r.images, image)
			r.line("[image %d]\n", len(r.images))
			return
		}
	}
	r.unshown = true
	if errors.Is(err, errBusy) {
		r.line("[An image is not shown, because %v. The notebook has it: %s]\n", err, notebookURI(r.id))
		return
	}
	r.line("[An image of type %s cannot be shown: %v.]\n", kind, err)
}

// files adds links to the written files, and returns their names.
func (r *result) files(cell cellhold.Cell) string {
	var names []string
	for i, f := range cell.Files {
		if i == maxFiles {
			names = append(names, fmt.Sprintf("%d more files", len(cell.Files)-i))
			break
		}
		names = append(names, strconv.Quote(shown(strings.TrimPrefix(f.Path, "/workspace/"))))
		r.links = append(r.links, fileLink(cell.Session, f.Exact(), f.Size))
	}
	return strings.Join(names, ", ")
}

// fileLink returns a link to a file of a session.
func fileLink(id cellhold.SessionID, exact string, size int64) *sdk.ResourceLink {
	return &sdk.ResourceLink{URI: fileURI(id, exact), Name: shown(path.Base(exact)), Size: &size}
}

// showCommand returns the answer for a command.
func (c call) showCommand(command cellhold.Command, note string) *sdk.CallToolResult {
	r := &result{id: command.Session}
	r.note(note)
	for _, o := range []struct {
		name string
		cellhold.CommandOutput
	}{{"stdout", command.Stdout}, {"stderr", command.Stderr}} {
		switch {
		case o.Encoding != "":
			r.line("[%d bytes of %s are not text.]\n", o.Bytes, o.name)
		case o.Omitted > 0:
			r.add(plain(o.Text))
			r.line("[… %d bytes left out …]\n", o.Omitted)
			r.add(plain(o.Tail))
		default:
			r.add(plain(o.Text))
		}
	}
	status := string(command.State)
	switch {
	case command.State != cellhold.CommandDone:
		r.line("The command is still running. Call wait with cell_id %q.", command.ID)
	case command.Status == cellhold.CommandOK || command.Status == cellhold.CommandExit:
		status = fmt.Sprintf("exit status %d", command.Code)
		r.failed = command.Status != cellhold.CommandOK
	default:
		status = fmt.Sprintf("%s, exit status %d", command.Status, command.Code)
		r.failed = true
		r.add(plain(command.Cause))
	}
	parts := []string{"session " + string(command.Session), "command " + string(command.ID), status}
	if !command.Ended.IsZero() {
		parts = append(parts, seconds(command.Ended.Sub(command.Started)))
	}
	return r.content("["+strings.Join(parts, " · ")+"]", "To see all of it, send the output to a file and call read_file.", false)
}
