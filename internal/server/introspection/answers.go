package introspection

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"cellhold"
)

// Complete returns the completions at a position of the code, in Unicode characters.
func Complete(ctx context.Context, s Session, k cellhold.KernelID, code string, cursor int) (cellhold.Completion, error) {
	var reply struct {
		Matches  []string `json:"matches"`
		Start    int      `json:"cursor_start"`
		End      int      `json:"cursor_end"`
		Metadata struct {
			Types json.RawMessage `json:"_jupyter_types_experimental"`
		} `json:"metadata"`
	}
	if err := ask(ctx, s, k, "complete", map[string]any{"code": code, "cursor_pos": cursor}, &reply); err != nil {
		return cellhold.Completion{}, err
	}
	c := cellhold.Completion{Matches: []cellhold.CompletionMatch{}, Start: reply.Start, End: reply.End}
	if c.Start < 0 || c.End < c.Start || c.End > utf8.RuneCountInString(code) {
		c.Start, c.End, c.Truncated = cursor, cursor, len(reply.Matches) > 0 // the matches would replace other code
		return c, nil
	}
	types, bytes := matchTypes(reply.Metadata.Types), 0
	for _, text := range reply.Matches {
		if len(text) > maxMatch || len(c.Matches) == maxMatches || bytes+len(text) > maxMatchBytes {
			c.Truncated = true
			continue
		}
		bytes += len(text)
		c.Matches = append(c.Matches, cellhold.CompletionMatch{Text: text, Type: types[text]})
	}
	return c, nil
}

// matchTypes returns the types of matches by their text. The form of this part is not in the protocol, so any other form
// means no types.
func matchTypes(raw json.RawMessage) map[string]string {
	var list []struct {
		Text string `json:"text"`
		Type string `json:"type"`
	}
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	types := map[string]string{}
	for _, m := range list[:min(len(list), maxMatches)] {
		if len(m.Text) <= maxMatch && len(m.Type) <= maxTypeName && m.Type != "<unknown>" {
			types[m.Text] = m.Type
		}
	}
	return types
}

// Inspect returns the description of the object at a position of the code. detail is 0, or 1 to add the source code.
func Inspect(ctx context.Context, s Session, k cellhold.KernelID, code string, cursor, detail int) (cellhold.Inspection, error) {
	var reply struct {
		Found bool                       `json:"found"`
		Data  map[string]json.RawMessage `json:"data"`
	}
	content := map[string]any{"code": code, "cursor_pos": cursor, "detail_level": detail}
	if err := ask(ctx, s, k, "inspect", content, &reply); err != nil {
		return cellhold.Inspection{}, err
	}
	i := cellhold.Inspection{Found: reply.Found, Data: map[string]json.RawMessage{}}
	names := make([]string, 0, len(reply.Data))
	for name := range reply.Data {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var text string
		if json.Unmarshal(reply.Data[name], &text) != nil || len(name) > maxTypeName || len(i.Data) == maxTypes {
			i.Truncated = true
			continue
		}
		if len(text) > maxText {
			text, i.Truncated = strings.ToValidUTF8(text[:maxText], ""), true
		}
		i.Data[name], _ = json.Marshal(text) // a text can always be encoded
	}
	return i, nil
}

// Check returns whether code is complete.
func Check(ctx context.Context, s Session, k cellhold.KernelID, code string) (cellhold.Completeness, error) {
	var reply cellhold.Completeness
	if err := ask(ctx, s, k, "is_complete", map[string]any{"code": code}, &reply); err != nil {
		return cellhold.Completeness{}, err
	}
	switch reply.Status {
	case cellhold.CodeComplete, cellhold.CodeInvalid:
		reply.Indent = ""
	case cellhold.CodeIncomplete:
		if len(reply.Indent) > maxIndent || strings.Trim(reply.Indent, " \t") != "" {
			reply.Indent = "" // it would type text for the user
		}
	default:
		reply = cellhold.Completeness{Status: cellhold.CodeUnknown}
	}
	return reply, nil
}
