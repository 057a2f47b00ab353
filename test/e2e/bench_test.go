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

// BenchmarkOneCellAgainstARawClient compares `1+1` through the API with the same cell sent by a raw ZeroMQ
// client inside the same sandbox. Blocks of 20 cells alternate between the two, because the speed of a shared
// machine changes within seconds. It reports, in milliseconds, the median and the 99th percentile of the API and
// of the raw client, and the median of the differences between adjacent blocks.
func BenchmarkOneCellAgainstARawClient(b *testing.B) {
	s := serve(b, newHome(b), "--cpu", "2") // with 1 CPU, the benchmark would measure waits for the CPU limit
	id := s.session(b, client.CreateSession{})
	s.must(b, id, rawClient)
	s.must(b, id, "1+1; print(measure(20))")
	var api, raw, added []time.Duration
	for b.Loop() {
		var inside []float64
		if err := json.Unmarshal([]byte(s.must(b, id, "print(measure(20))")), &inside); err != nil {
			b.Fatal(err)
		}
		var theirs, ours []time.Duration
		for _, seconds := range inside {
			theirs = append(theirs, time.Duration(seconds*float64(time.Second)))
		}
		for range inside {
			begun := time.Now()
			s.must(b, id, "1+1")
			ours = append(ours, time.Since(begun))
		}
		api, raw = append(api, ours...), append(raw, theirs...)
		added = append(added, quantile(ours, 0.5)-quantile(theirs, 0.5))
	}
	report(b, "api-p50-ms", api, 0.5)
	report(b, "api-p99-ms", api, 0.99)
	report(b, "raw-p50-ms", raw, 0.5)
	report(b, "raw-p99-ms", raw, 0.99)
	report(b, "added-ms", added, 0.5)
	b.ReportMetric(0, "ns/op") // hides the time of a block, which says nothing about one cell
}

// report reports the quantile q of times as a metric.
func report(b *testing.B, name string, of []time.Duration, q float64) {
	b.ReportMetric(ms(quantile(of, q)), name)
}

func quantile(of []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[int(q*float64(len(sorted)-1))]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
