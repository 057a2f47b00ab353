package store

import (
	"cellhold"
	"cellhold/internal/record"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// quantiles reports the median and the 99th percentile of one operation.
func quantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 3, 10} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			d := open(b, b.TempDir())
			id, seq := put(b, d), int64(0)
			took := make([]time.Duration, 0, b.N)
			evs := make([]record.Event, n)
			for b.Loop() {
				for i := range evs {
					seq++
					evs[i] = stream(seq, "a line of output, as short as most\n")
				}
				start := time.Now()
				must(b, d.Append(b.Context(), id, evs))
				took = append(took, time.Since(start))
			}
			quantiles(b, took)
		})
	}
}

// BenchmarkCell records a cell with one result: once when it is queued, and once when it is done.
func BenchmarkCell(b *testing.B) {
	d := open(b, b.TempDir())
	id, seq := put(b, d), int64(0)
	for b.Loop() {
		c := newCell(id, "1+1")
		queued := stream(seq+1, `{"position":0}`)
		must(b, d.Append(b.Context(), id, []record.Event{queued}, c))
		evs := make([]record.Event, 3)
		for i := range evs {
			evs[i] = stream(seq+2+int64(i), "a line of output, as short as most\n")
			evs[i].Kernel, evs[i].Boot, evs[i].Source = "python3", "boot", seq+2+int64(i)
		}
		seq += 4
		c.State = cellhold.CellDone
		must(b, d.Append(b.Context(), id, evs, c))
	}
}

func BenchmarkPutCell(b *testing.B) {
	d := open(b, b.TempDir())
	id := put(b, d)
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		c := newCell(id, "print(1 + 1)")
		start := time.Now()
		must(b, d.PutCell(b.Context(), c))
		took = append(took, time.Since(start))
	}
	quantiles(b, took)
}

func BenchmarkRead(b *testing.B) {
	d := open(b, b.TempDir())
	id := put(b, d)
	const n = 10_000
	evs := make([]record.Event, n)
	for i := range evs {
		evs[i] = stream(int64(i+1), strings.Repeat("x", 100))
	}
	must(b, d.Append(b.Context(), id, evs))
	for b.Loop() {
		if got := len(read(b, d, id, 0)); got != n {
			b.Fatal(got)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
}
