package server

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// BenchmarkCell runs each cell twice: through the server over a real connection, and directly. The difference between
// the two reported medians is the cost of the server. The runs alternate, so that other load slows them equally.
func BenchmarkCell(b *testing.B) {
	h := newHarness(b)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var path string
	var sess *session.Session
	var through, direct []time.Duration
	for b.Loop() {
		if len(through)%100 == 0 { // a new session has a small notebook
			if path != "" {
				h.do(204, "DELETE", path, "")
			}
			path, sess = h.create(), nil
			var err error
			if sess, err = h.manager.Session(b.Context(), "ann", cellhold.SessionID(strings.TrimPrefix(path, "/v1/sessions/"))); err != nil {
				b.Fatal(err)
			}
		}
		begun := time.Now()
		res, err := client.Do(h.request("POST", path+"/cells?wait=30s", `{"code":"result 2"}`))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
			b.Fatal(res.Status, err)
		}
		res.Body.Close()
		through = append(through, time.Since(begun))

		begun = time.Now()
		cell, err := sess.Execute(b.Context(), session.ExecuteRequest{Code: "result 2"})
		if err == nil {
			cell, err = sess.History().WaitCell(b.Context(), cell.ID)
		}
		if err != nil || cell.Status != cellhold.StatusOK {
			b.Fatal(cell, err)
		}
		direct = append(direct, time.Since(begun))
	}
	slices.Sort(through)
	slices.Sort(direct)
	b.ReportMetric(float64(through[len(through)/2].Microseconds()), "µs-server/p50")
	b.ReportMetric(float64(direct[len(direct)/2].Microseconds()), "µs-direct/p50")
}

// BenchmarkShortCell sends short cells through the server over a real connection. It is for profiles of the processor
// time of the server. The agent and the kernel of the fake driver run in the same process.
func BenchmarkShortCell(b *testing.B) {
	h := newHarnessWith(b, nil, func(o *Options) { o.Logger = slog.New(slog.DiscardHandler) })
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var path string
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 { // sometimes a new session, because the notebook grows
			path = h.create()
		}
		res, err := client.Do(h.request("POST", path+"/cells?wait=30s", `{"code":"result 2"}`))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
			b.Fatal(res.Status, err)
		}
		res.Body.Close()
		if i%100 == 99 {
			h.do(204, "DELETE", path, "")
		}
	}
}

// BenchmarkServer measures decoding, checks and encoding: guards, huma and JSON. The cell is done at once, and there
// is no connection.
func BenchmarkServer(b *testing.B) {
	s, _ := newServer(b, new(registry.Registry), func(o *Options) { o.Logger = nil })
	m := &table{ServeMux: http.NewServeMux(), server: s}
	api := humago.New(m, huma.Config{
		OpenAPI:       &huma.OpenAPI{Info: &huma.Info{}},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{ownProblems},
	})
	done := cellhold.Cell{ID: "c", Code: "1+1", State: cellhold.CellDone, Status: cellhold.StatusOK, Submitted: time.Unix(0, 0),
		Outputs: []cellhold.Output{{Type: cellhold.EventExecuteResult, Data: map[string]json.RawMessage{"text/plain": json.RawMessage(`"2"`)}}}}
	register(api, huma.Operation{OperationID: "submit", Method: "POST", Path: "/v1/sessions/{id}/cells", DefaultStatus: 200},
		func(context.Context, *submitInput) (*submitOutput, error) {
			return &submitOutput{Body: func(hc huma.Context) {
				_, w := humago.Unwrap(hc)
				writeCell(w, http.StatusOK, done)
			}}, nil
		})
	handler := exchange.Instrument(s.log, s.guard.Wrap(m))
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/v1/sessions/s/cells?wait=30s", strings.NewReader(`{"code":"1+1"}`))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+annToken)
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, r); w.Code != 200 {
			b.Fatal(w.Code, w.Body)
		}
	}
}
