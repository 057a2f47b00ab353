package download

import "testing"

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
