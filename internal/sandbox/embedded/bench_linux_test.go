package embedded_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cellhold/internal/sandbox/embedded"
)

// BenchmarkCreate measures the time to the first answer of the agent of a new sandbox.
func BenchmarkCreate(b *testing.B) {
	options(b)
	d := open(b)
	defer d.Close()
	measureStarts(b, d, "")
}

// BenchmarkContinue measures the time to the first answer of the agent of a restored sandbox.
func BenchmarkContinue(b *testing.B) {
	options(b)
	d := open(b)
	defer d.Close()
	origin, err := d.Create(b.Context(), spec(name("origin")))
	if err != nil {
		b.Fatal(err)
	}
	defer origin.Destroy(b.Context())
	snapshot := name("bench")
	if err := origin.Snapshot(b.Context(), snapshot); err != nil {
		b.Fatal(err)
	}
	defer d.RemoveSnapshot(b.Context(), snapshot)
	measureStarts(b, d, snapshot)
}

// measureStarts measures the time to the agent's first answer, for a new or restored sandbox.
func measureStarts(b *testing.B, d *embedded.Driver, from string) {
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		s := spec(name(fmt.Sprintf("b%d", i)))
		s.From = from
		start := time.Now()
		box, err := d.Create(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		resp, err := guestClient(box).Get("http://guest/health")
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
		took = append(took, time.Since(start))
		b.StopTimer()
		if err := box.Destroy(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	report(b, took)
}

// BenchmarkSnapshot measures the time for saving a sandbox, during which it is paused.
func BenchmarkSnapshot(b *testing.B) {
	options(b)
	d := open(b)
	defer d.Close()
	box, err := d.Create(b.Context(), spec(name("saved")))
	if err != nil {
		b.Fatal(err)
	}
	defer box.Destroy(b.Context())
	defer d.RemoveSnapshot(b.Context(), name("bench"))
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := box.Snapshot(b.Context(), name("bench")); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	report(b, took)
}

// BenchmarkDestroy measures the time for destroying an idle sandbox.
func BenchmarkDestroy(b *testing.B) {
	options(b)
	d := open(b)
	defer d.Close()
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		box, err := d.Create(b.Context(), spec(name(fmt.Sprintf("d%d", i))))
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		start := time.Now()
		if err := box.Destroy(b.Context()); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	report(b, took)
}

// BenchmarkRequest measures one HTTP request to the agent and its answer.
func BenchmarkRequest(b *testing.B) {
	options(b)
	d := open(b)
	defer d.Close()
	box, err := d.Create(b.Context(), spec(name("request")))
	if err != nil {
		b.Fatal(err)
	}
	defer box.Destroy(b.Context())
	c := guestClient(box)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		resp, err := c.Get("http://guest/health")
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
		took = append(took, time.Since(start))
	}
	report(b, took)
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*9/10].Microseconds()), "p90-µs")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
}
