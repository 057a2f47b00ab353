package download

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestTheFileNameOfADownloadIsEscaped(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"a plot.png", `attachment; filename="a plot.png"`},
		{`q"uote;.html`, `attachment; filename="q_uote_.html"; filename*=UTF-8''q%22uote%3B.html`},
		{"图.png", `attachment; filename="_.png"; filename*=UTF-8''%E5%9B%BE.png`},
		{"a\r\nX: y", `attachment; filename="a__X: y"; filename*=UTF-8''a%0D%0AX%3A%20y`},
		{`..\x`, `attachment; filename=".._x"; filename*=UTF-8''..%5Cx`},
	} {
		if got := Disposition(tt.name); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestAnErrorBeforeTheFirstByteCanBeTheAnswer(t *testing.T) {
	for _, x := range []struct {
		name  string
		write func(w *lateHeader)
		can   bool
		code  int
	}{
		{"a success without a byte", func(w *lateHeader) { w.WriteHeader(http.StatusPartialContent) }, true, 403},
		{"a success with a byte", func(w *lateHeader) { w.WriteHeader(http.StatusPartialContent); _, _ = w.Write([]byte("x")) }, false, 206},
		{"not modified", func(w *lateHeader) { w.WriteHeader(http.StatusNotModified) }, false, 304},
	} {
		r := httptest.NewRecorder()
		w := &lateHeader{ResponseWriter: r, before: http.Header{"X-Content-Type-Options": {"nosniff"}}}
		w.Header().Set("Content-Range", "bytes 1-2/3")
		x.write(w)
		can := w.withdraw()
		if can {
			w.ResponseWriter.WriteHeader(403)
		}
		if can != x.can || r.Code != x.code || can && (r.Header().Get("Content-Range") != "" || r.Header().Get("X-Content-Type-Options") == "") {
			t.Errorf("%s: can be replaced %v, status %d, header %v; want %v and %d", x.name, can, r.Code, r.Header(), x.can, x.code)
		}
	}
}

func TestAnEmptyBodyHasItsHeader(t *testing.T) {
	r := httptest.NewRecorder()
	w := &lateHeader{ResponseWriter: r}
	w.WriteHeader(http.StatusPartialContent)
	w.send()
	w.send()
	if r.Code != http.StatusPartialContent {
		t.Errorf("got status %d, want 206", r.Code)
	}
}
