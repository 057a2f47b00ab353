package script

import (
	"strings"
	"testing"
)

func TestALargeNotebookIsSentWithoutItsOutputs(t *testing.T) {
	plot := `{"output_type":"display_data","data":{"image/png":"` + strings.Repeat("A", largeNotebook) + `"},"metadata":{}}`
	const begin = `{"cells":[{"cell_type":"code","metadata":{"k":1},"outputs":[`
	const end = `],"source":"1+1"},{"cell_type":"markdown","source":"# T"}],"nbformat":4,"own":[1.50]}`
	got := string(withoutOutputs([]byte(begin + plot + end)))
	if want := begin + end; got != want {
		t.Errorf("got %.200s, want %s", got, want)
	}
	for _, other := range []string{begin + `{"output_type":"stream"}` + end, strings.Repeat("no JSON", largeNotebook)} {
		if got := withoutOutputs([]byte(other)); string(got) != other {
			t.Errorf("%.30q… became %.30q…", other, got)
		}
	}
}
