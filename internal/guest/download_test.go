package guest_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"cellhold"
)

func TestAnOpenFileHasTheHeadThatTheGuestSent(t *testing.T) {
	for _, x := range []struct {
		name, etag, length string
		want               cellhold.Kind // empty means that the file is opened
	}{
		{"a file", `"1-3-2"`, "3", ""},
		{"an older agent", "", "3", cellhold.Unsupported},
		{"a version that would break a header", `"1;2"`, "3", cellhold.Internal},
		{"no length", `"1-3-2"`, "", cellhold.Internal},
	} {
		c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Last-Modified", time.Unix(1e9, 0).UTC().Format(http.TimeFormat))
			if x.etag != "" {
				w.Header().Set("ETag", x.etag)
			}
			if x.length != "" {
				w.Header().Set("Content-Length", x.length)
			}
			io.WriteString(w, "abc")
			http.NewResponseController(w).Flush()
		})
		info, r, err := c.Open(t.Context(), "f")
		if x.want != "" {
			if err == nil || cellhold.KindOf(err) != x.want {
				t.Errorf("%s: got %v, want kind %s", x.name, err, x.want)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		text, err := io.ReadAll(r)
		r.Close()
		if string(text) != "abc" || err != nil || info.Size != 3 || info.Version != "1-3-2" || !info.Modified.Equal(time.Unix(1e9, 0)) {
			t.Errorf("%s: got %q, %v and %+v", x.name, text, err, info)
		}
	}
}
