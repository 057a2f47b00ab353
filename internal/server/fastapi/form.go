package fastapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
)

// FormField reads the value of a field of a form, URL-encoded or multipart. The last value counts. A body of
// another type counts as a form without fields, and an empty field as a missing one.
func FormField(r *http.Request, f Field) (string, *Refusal) {
	value, refused := formValue(r, f)
	switch {
	case refused != nil:
		return "", refused
	case value == "":
		return "", invalid(*f.missing(null))
	}
	if fault := f.check(value); fault != nil {
		return "", invalid(*fault)
	}
	return value, nil
}

// FormFields reads several fields. See FormField.
func FormFields(r *http.Request, fields ...Field) ([]string, *Refusal) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, unreadable(err)
	}
	values := make([]string, len(fields))
	for i, f := range fields {
		r.Body = io.NopCloser(bytes.NewReader(body))
		var refused *Refusal
		if values[i], refused = FormField(r, f); refused != nil {
			return nil, refused
		}
	}
	return values, nil
}

func formValue(r *http.Request, f Field) (string, *Refusal) {
	mediaType, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch mediaType {
	case "application/x-www-form-urlencoded":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return "", unreadable(err)
		}
		return urlencodedValue(string(body), f.Name), nil
	case "multipart/form-data":
		if params["boundary"] == "" {
			return "", &Refusal{http.StatusBadRequest, "Missing boundary in multipart."}
		}
		return partsValue(multipart.NewReader(r.Body, params["boundary"]), f)
	}
	return "", nil
}

// urlencodedValue returns the last value of a field.
func urlencodedValue(body, name string) (value string) {
	for pair := range strings.SplitSeq(body, "&") {
		if k, v, _ := strings.Cut(pair, "="); unescape(k) == name {
			value = unescape(v)
		}
	}
	return value
}

// unescape decodes one name or value. It keeps a text with an invalid escape.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return strings.ReplaceAll(s, "+", " ")
}

// partsValue returns the last value of a field among the parts of a form. It ignores a part that is cut
// short.
func partsValue(parts *multipart.Reader, f Field) (value string, _ *Refusal) {
	for first := true; ; first = false {
		part, err := parts.NextRawPart()
		if err != nil {
			return value, partsEnd(err, first)
		}
		if part.FormName() != f.Name {
			continue
		}
		if part.FileName() != "" {
			return "", invalid(*f.notString(null))
		}
		text, err := io.ReadAll(part)
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return "", unreadable(err)
		}
		if err == nil {
			value = string(text)
		}
	}
}

// partsEnd returns the refusal of a form whose next part cannot be read, or nil. A form can end early, but not before
// its first part.
func partsEnd(err error, first bool) *Refusal {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return unreadable(err)
	}
	if first {
		return &Refusal{http.StatusBadRequest, "Invalid multipart data."}
	}
	return nil
}
