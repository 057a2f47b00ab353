package guest

import (
	"encoding/json"
	"strings"
	"testing"

	"cellhold/internal/guestapi"
)

func TestAReportThatTheAgentNeverGivesIsRefused(t *testing.T) {
	for _, text := range []string{
		`{"failure":"fine"}`, `{"changes":[{"name":"A"}]}`, `{"changes":[{"name":"a","after":"1; rm"}]}`,
		`{"changes":[{"name":"a","modules":["os; import x"]}]}`, `{"named":[{"name":"../a"}]}`, `{"named":[{"name":"a","modules":["1a"]}]}`,
		`{"loaded":[{"kernel":"k\n","package":"a","module":"a"}]}`, `{"silent":["\u001b[0m"]}`,
	} {
		var out guestapi.Installed
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatal(err)
		}
		if _, err := acceptInstalled(out); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

// FuzzInstalled checks reports of any guest: accepted texts cannot control a terminal, and modules are
// identifiers, because they become code.
func FuzzInstalled(f *testing.F) {
	f.Add(`{"log":"a\u001b[2Jb","changes":[{"name":"a","after":"1","modules":["a"]}],"hooks":[{"path":"/x.pth","text":"import a\n"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var in guestapi.Installed
		if json.Unmarshal([]byte(text), &in) != nil {
			return
		}
		out, err := acceptInstalled(in)
		if err != nil {
			return
		}
		for _, c := range append(out.Changes, out.Named...) {
			for _, m := range c.Modules {
				if strings.ContainsAny(m, " ;\n.()") || m == "" {
					t.Fatalf("module %q", m)
				}
			}
		}
		all := out.Log
		for _, h := range out.Hooks {
			all += h.Path + h.Text
		}
		if strings.ContainsAny(all, "\x1b\r\x07\u009b") {
			t.Fatalf("the report has control characters: %q", all)
		}
	})
}
