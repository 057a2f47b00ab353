package client

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"cellhold"
)

// pageOf returns a page of a listing with the given number of entries.
func pageOf(entries int, next string) func() io.ReadCloser {
	one := `{"path":"/workspace/x","type":"file"}`
	return text(fmt.Sprintf(`{"entries":[%s],"next":%q}`, strings.TrimSuffix(strings.Repeat(one+",", entries), ","), next))
}

func TestAListingRequestsOnlyTheNeededEntries(t *testing.T) {
	tests := []struct {
		name   string
		pages  []func() io.ReadCloser
		most   int
		limits []string // limit in the query of each request
		want   int
		more   bool
		fails  bool
	}{
		{"all entries", []func() io.ReadCloser{pageOf(1000, "a"), pageOf(7, "")}, 2000, []string{"", ""}, 1007, false, false},
		{"a listing without end", []func() io.ReadCloser{pageOf(1000, "a"), pageOf(500, "b"), pageOf(1000, "c")}, 1500, []string{"", "500"}, 1500, true, false},
		{"as many entries as the limit", []func() io.ReadCloser{pageOf(3, "")}, 3, []string{"3"}, 3, false, false},
		{"a server that sends more entries than the limit", []func() io.ReadCloser{pageOf(9, "")}, 3, []string{"3"}, 3, true, false},
		{"an empty page that names a next page", []func() io.ReadCloser{pageOf(0, "a"), pageOf(0, "b")}, 3, []string{"3"}, 0, true, true},
		{"a page that names itself", []func() io.ReadCloser{pageOf(1, "a"), pageOf(1, "a"), pageOf(1, "a")}, 9, []string{"9", "8"}, 2, true, true},
	}
	for _, test := range tests {
		s := &scripted{bodies: test.pages}
		c, err := New(Options{URL: "http://localhost", HTTP: &http.Client{Transport: s}})
		if err != nil {
			t.Fatal(err)
		}
		all, more, err := c.ListDirUpTo(t.Context(), "s1", "", test.most)
		if len(all) != test.want || more != test.more || (err != nil) != test.fails || err != nil && cellhold.KindOf(err) != cellhold.Internal {
			t.Errorf("%s: got %d entries, more %t, error %v; want %d entries, more %t, an internal error: %t", test.name, len(all), more, err, test.want, test.more, test.fails)
		}
		if len(s.asked) != len(test.limits) {
			t.Errorf("%s: got the requests %q, want %d", test.name, s.asked, len(test.limits))
			continue
		}
		for i, want := range test.limits {
			if asked, err := url.Parse(s.asked[i]); err != nil || asked.Query().Get("limit") != want {
				t.Errorf("%s: got the request %q, want the limit %q", test.name, s.asked[i], want)
			}
		}
	}
}
