package e2e

import (
	_ "embed"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"cellhold/client"
)

//go:embed raw_client.py
var rawClient string

// BenchmarkOneCellAgainstARawClient compares `1+1` through the public API with the same cell sent by a
// raw ZeroMQ client inside the same sandbox. Blocks of both are interleaved, and the figures are
// medians in milliseconds: of the API, of the raw client, and their difference.
func BenchmarkOneCellAgainstARawClient(b *testing.B) {
	s := serve(b, newHome(b), "--cpu", "2") // a quota of one core would be measured instead
	id := s.session(b, client.CreateSession{})
	s.must(b, id, "1+1")
	var api, raw []time.Duration
	for b.Loop() {
		var block []float64
		if err := json.Unmarshal([]byte(s.must(b, id, rawClient)), &block); err != nil {
			b.Fatal(err)
		}
		for _, seconds := range block {
			raw = append(raw, time.Duration(seconds*float64(time.Second)))
		}
		for range block {
			begun := time.Now()
			s.must(b, id, "1+1")
			api = append(api, time.Since(begun))
		}
	}
	report(b, "api-p50-ms", api, 0.5)
	report(b, "api-p99-ms", api, 0.99)
	report(b, "raw-p50-ms", raw, 0.5)
	report(b, "raw-p99-ms", raw, 0.99)
	b.ReportMetric(ms(quantile(api, 0.5)-quantile(raw, 0.5)), "added-ms")
	b.ReportMetric(0, "ns/op") // of a whole block: says nothing
}

func report(b *testing.B, name string, of []time.Duration, q float64) {
	b.ReportMetric(ms(quantile(of, q)), name)
}

func quantile(of []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[int(q*float64(len(sorted)-1))]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
