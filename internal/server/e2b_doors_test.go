package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"testing"

	"cellhold/internal/registry"
	"cellhold/internal/server/e2b/access"
)

func TestAServerWithoutTokensOpensNoSandboxOfAFormerCaller(t *testing.T) {
	h := newHarnessWith(t, nil, func(o *Options) { o.Tokens, o.AuthOff = nil, true })
	former, err := h.manager.Create(t.Context(), registry.CreateRequest{Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	b, dir := &box{h: h, ID: string(former.ID())}, t.TempDir()
	mac := hmac.New(sha256.New, nil) // of a key that everybody knows
	mac.Write([]byte("e2b\x00envd\x00" + b.ID))
	b.Envd, b.Traffic = hex.EncodeToString(mac.Sum(nil)), "x"
	b.send(403, "POST", "49999", "/execute", `{"code":"print x"}`)
	b.send(401, "GET", "49983", "/files?path="+dir, "")
	if a := h.send(h.request("POST", sign(b.Envd, dir+"/f", "write", 0), "x")); a.StatusCode != 401 {
		t.Errorf("a signed URL: got %d with %s, want 401", a.StatusCode, a.body)
	}
	own := h.box(`{}`)
	own.Traffic = ""
	own.lines(`{"code":"print x"}`)
	if a := h.send(h.request("POST", sign(own.Envd, dir+"/f", "write", 0), "x")); a.StatusCode != 200 {
		t.Errorf("a signed URL of a sandbox without an owner: got %d with %s, want 200", a.StatusCode, a.body)
	}
}

func TestARouteBelowE2BIsClosedUnlessItChecksItsCallerItself(t *testing.T) {
	all := &table{ServeMux: http.NewServeMux(), server: &Server{}}
	own := access.NewRoutes(all)
	nothing := func(http.ResponseWriter, *http.Request) {}
	own.HandleFunc("GET /e2b/checked/{id}", nothing)
	all.HandleFunc("GET /e2b/forgotten", nothing)
	for path, want := range map[string]bool{"/e2b/checked/x": true, "/e2b/forgotten": false, "/e2b/unknown": false, "/e2b/": false, "/files": false} {
		if got := own.Has(httptest.NewRequest("GET", path, nil)); got != want {
			t.Errorf("%s: got %t, want %t", path, got, want)
		}
	}
}

func TestUnknownPathsOfTheE2BAPIAnswerInItsForm(t *testing.T) {
	h := newHarness(t)
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		for token, status := range map[string]int{annToken: 404, "wrong": 401} {
			var p struct {
				Code    int
				Message string
			}
			a := h.control(token, method, "/v9/new", "")
			a.decode(t, &p)
			if a.StatusCode != status || p.Code != status || p.Message == "" {
				t.Errorf("%s with the key %.3s: got %d with %s, want %d", method, token, a.StatusCode, a.body, status)
			}
		}
	}
}
