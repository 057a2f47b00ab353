package server

import (
	"strings"
	"testing"
)

func TestListsOmitStartupCode(t *testing.T) {
	h := newHarness(t)
	b := h.box(`{}`)
	b.send(200, "POST", "49999", "/contexts", `{"language":"python3"}`)
	if a := h.do(200, "GET", "/v1/sessions/"+b.ID, ""); strings.Count(string(a.body), `"startup":`) != 2 {
		t.Errorf("the session: got %s, want its startup code and that of a kernel", a.body)
	}
	for _, path := range []string{"/v1/sessions", "/v1/sessions/" + b.ID + "/kernels"} {
		if a := h.do(200, "GET", path, ""); strings.Contains(string(a.body), `"startup"`) || !strings.Contains(string(a.body), "python3") {
			t.Errorf("%s: got %s, want the kernels without startup code", path, a.body)
		}
	}
}
