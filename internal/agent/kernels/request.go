package kernels

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// checkRequest checks the parts of a client's request, and returns the id of the message. The id is empty if
// the request has no header.
func checkRequest(r *guestapi.ExecuteRequest) (msgID string, err error) {
	if r == nil {
		return "", nil
	}
	for name, part := range map[string]json.RawMessage{"metadata": r.Metadata, "user_expressions": r.UserExpressions} {
		if len(part) > guestapi.MaxClientPart {
			return "", cellhold.Errorf(cellhold.Exhausted, "The %s of the request have %d bytes; the limit is %d bytes.", name, len(part), guestapi.MaxClientPart)
		}
		if len(part) > 0 && !isObject(part) {
			return "", cellhold.Errorf(cellhold.Invalid, "The %s of the request are not a JSON object.", name)
		}
	}
	if len(r.Header) == 0 {
		return "", nil
	}
	if len(r.Header) > guestapi.MaxClientHeader {
		return "", cellhold.Errorf(cellhold.Exhausted, "The header of the request has %d bytes; the limit is %d bytes.", len(r.Header), guestapi.MaxClientHeader)
	}
	h, _, err := jupyter.DecodeHeader(r.Header)
	if err != nil || !isObject(r.Header) || h.MsgType != "execute_request" || h.MsgID == "" || jupyter.IsOwn(h.MsgID) {
		return "", cellhold.Wrap(cellhold.Invalid, err, "The header of the request is not valid: it must be a JSON object with the msg_type execute_request and a msg_id.")
	}
	return h.MsgID, checkNames(r.Header)
}

// checkNames refuses a client's header in which two names are equal, also if only their case or their escapes differ.
// Readers differ in which of them they use. So a client could show the agent another type or id than the kernel.
func checkNames(header []byte) error {
	in := json.NewDecoder(bytes.NewReader(header))
	if _, err := in.Token(); err != nil {
		return nil // the header is empty; it was decoded before
	}
	seen := map[string]bool{}
	for in.More() {
		token, err := in.Token()
		name, ok := token.(string)
		var value json.RawMessage
		if err != nil || !ok || in.Decode(&value) != nil {
			return cellhold.Errorf(cellhold.Invalid, "The header is not a JSON object.")
		}
		folded := strings.ToLower(strings.ToUpper(name)) // some letters have two lower-case forms
		if seen[folded] {
			return cellhold.Errorf(cellhold.Invalid, "The header has the name %.50q twice. Send each name once; case does not distinguish names.", name)
		}
		seen[folded] = true
	}
	return nil
}

// isObject reports whether b is a JSON object in valid UTF-8.
func isObject(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) && json.Valid(b) && utf8.Valid(b)
}

// executeRequest returns the request for the kernel. Without the parts of a client, the code is stored in the
// kernel's history.
func executeRequest(c *cell, r guestapi.Execute) jupyter.ExecuteRequest {
	q := jupyter.ExecuteRequest{MsgID: c.msgID, Code: r.Code, StoreHistory: true, AllowStdin: r.AllowStdin, Metadata: metadata(r)}
	if r.Request != nil {
		q.Header, q.UserExpressions = r.Request.Header, r.Request.UserExpressions
		q.Silent, q.StoreHistory = r.Request.Silent, r.Request.StoreHistory
	}
	return q
}

// metadata returns the metadata that the kernel gets with the code. Jupyter does not interpret it. The
// image's cellhold_figures reads the figures.
func metadata(r guestapi.Execute) json.RawMessage {
	var client json.RawMessage
	if r.Request != nil {
		client = r.Request.Metadata
	}
	if r.Figures == nil {
		return client
	}
	fields := map[string]json.RawMessage{}
	if len(client) > 0 && json.Unmarshal(client, &fields) != nil {
		fields = map[string]json.RawMessage{} // checkRequest refuses such metadata
	}
	fields["cellhold"] = marshal(map[string]any{"figures": r.Figures})
	return marshal(fields)
}
