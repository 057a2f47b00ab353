package agent_test

import (
	"testing"

	"cellhold/internal/sandbox/fake"
)

// BenchmarkCell runs one small cell from the host's client to the kernel and back. The kernel is the toy
// kernel, so that the benchmark measures only the agent.
func BenchmarkCell(b *testing.B) {
	r := withKernel(b, fake.Options{})
	var last int64
	for b.Loop() {
		o := r.run("result 2")
		last = o.events[len(o.events)-1].Seq
		if last%1000 < 3 { // the host acknowledges after some cells
			if err := r.kernel.Ack(r.ctx, last); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkDisplay sends one of many displays.
func BenchmarkDisplay(b *testing.B) {
	const flood = 10_000
	r := withKernel(b, fake.Options{})
	for b.Loop() {
		o := r.run("flood 10000")
		if err := r.kernel.Ack(r.ctx, o.events[len(o.events)-1].Seq); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/flood, "µs/display")
}

// BenchmarkText sends a megabyte of text in one message.
func BenchmarkText(b *testing.B) {
	r := withKernel(b, fake.Options{})
	b.SetBytes(1 << 20)
	for b.Loop() {
		o := r.run("big 1048576")
		if err := r.kernel.Ack(r.ctx, o.events[len(o.events)-1].Seq); err != nil {
			b.Fatal(err)
		}
	}
}
