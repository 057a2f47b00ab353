package report

import (
	"fmt"
	"math"
)

// target is a goal of the project.
type target struct {
	text  string
	of    ref
	over  *ref    // divisor; nil means that the figure itself counts
	most  bool    // bound is a maximum, not a minimum
	bound float64 // in unit
	unit  string  // unit of the measured value; "" means "times"
	scale float64 // factor from the figure's unit to unit; 0 means 1
	limit string  // the reason for a missed target; docs/explanation/performance.md explains it
}

// The reasons for missed targets.
const (
	warmLimit    = "warm: the system calls and wake-ups of the first cell in gVisor; every later cell has them too"
	restoreLimit = "restores, and so sustained creates: CPU time to load the snapshot's pages, to read the state of gVisor's kernel, and to start and end its processes"
	cellLimit    = "`1+1`: the server's CPU time and the wake-ups of its threads; it competes with a sandbox that uses both cores"
	burstLimit   = "the burst: CPU time, because each session beyond the warm ones needs a restore"
	orderLimit   = "the order of the burst: calls start in the order in which the server read them, and (cores + 1) of them run at the same time; if the server gets no CPU for a moment, it reads several calls at once, in any order"
)

// ref identifies one quantile of one series.
type ref struct {
	figure, contender string
	q                 float64
}

// Names of the contenders, and of the series measured inside a sandbox.
const (
	Warm     = "cellhold, warm"
	Restore  = "cellhold, by restore"
	Cold     = "cellhold, cold"
	Article  = "the article's design"
	Gateway  = "Jupyter Kernel Gateway"
	LLM      = "llm-sandbox on Docker"
	Raw      = "raw client in the same sandbox"
	Untuned  = "raw client, untuned kernel there"
	Cellhold = "cellhold"
)

// targets are the goals on two cores. A goal that depends on the machine is a ratio of two figures of one run.
var targets = []target{
	{text: "create → first answer with pandas, warm, against a bare ipykernel", of: ref{"first", Bare, 0.5}, over: &ref{"first", Warm, 0.5}, bound: 40, limit: warmLimit},
	{text: "the same, p50", of: ref{"first", Warm, 0.5}, most: true, bound: 15, unit: "ms", limit: warmLimit},
	{text: "by restore, nothing warm, against a bare ipykernel", of: ref{"first", Bare, 0.5}, over: &ref{"first", Restore, 0.5}, bound: 3, limit: restoreLimit},
	{text: "the same, p50", of: ref{"first", Restore, 0.5}, most: true, bound: 200, unit: "ms", limit: restoreLimit},
	{text: "warm against the article's design", of: ref{"first", Article, 0.5}, over: &ref{"first", Warm, 0.5}, bound: 50},
	{text: "`1+1` over /v1 against a raw client in the same sandbox, p50", of: ref{"cell", Cellhold, 0.5}, over: &ref{"cell", Raw, 0.5}, most: true, bound: 1.15, limit: cellLimit},
	{text: "`1+1` over /v1 against an untuned ipykernel there, p50", of: ref{"cell", Cellhold, 0.5}, over: &ref{"cell", Untuned, 0.5}, most: true, bound: 0.8},
	{text: "sustained creates", of: ref{"creates", Warm, 0.5}, bound: 6, unit: "/s", limit: restoreLimit},
	{text: "memory of an idle warm session", of: ref{"memory", Warm, 0.5}, most: true, bound: 140, unit: "MB"},
	{text: "resume with 10 MB of state → first answer, p50", of: ref{"resume-10", Cellhold, 0.5}, most: true, bound: 400, unit: "ms"},
	{text: "resume with 300 MB of state → first answer, p50", of: ref{"resume-300", Cellhold, 0.5}, most: true, bound: 400, unit: "ms"},
	{text: "burst of 50 creates, none failed", of: ref{"burst-50-failed", Warm, 1}, most: true, bound: 0, unit: "failed"},
	{text: "burst of 50 creates, p99", of: ref{"burst-50", Warm, 0.99}, most: true, bound: 8, unit: "s", scale: 1e-3, limit: burstLimit},
	// Concurrent creations can end in any order: one for each core, one more, and the next one.
	{text: "burst of 50 creates, most sessions that overtook the same earlier session", of: ref{"burst-50-overtaken", Warm, 1}, most: true, bound: 4, unit: "sessions", limit: orderLimit},
}

// verdict is the result of a run for a target.
type verdict struct{ text, want, got, result, limit string }

// judge compares a target with the measured value.
func (t target) judge(r *Report) verdict {
	v := verdict{text: t.text, want: t.amount(t.bound)}
	if t.most {
		v.want = "at most " + v.want
	} else {
		v.want = "at least " + v.want
	}
	got := r.look(t.of)
	if t.over != nil {
		got /= r.look(*t.over)
	}
	if t.scale != 0 {
		got *= t.scale
	}
	if math.IsNaN(got) {
		v.got, v.result = "–", "not measured"
		for _, c := range r.Contenders {
			if c.LeftOut != "" && (c.Name == t.of.contender || t.over != nil && c.Name == t.over.contender) {
				v.result += ": without " + c.Name
			}
		}
		return v
	}
	v.got = t.amount(got)
	v.result = t.verdict(got)
	if !t.reached(got) {
		v.limit = t.limit
	}
	return v
}

func (t target) reached(got float64) bool {
	return t.most && got <= t.bound || !t.most && got >= t.bound
}

func (t target) verdict(got float64) string {
	if t.reached(got) {
		return "reached"
	}
	if t.bound == 0 {
		return "**missed**"
	}
	return fmt.Sprintf("**missed** by %.0f %%", math.Ceil(100*math.Abs(got-t.bound)/t.bound))
}

// look returns a quantile, or NaN without samples.
func (r *Report) look(at ref) float64 { return r.Figure(at.figure).find(at.contender).Quantile(at.q) }

func (t target) amount(x float64) string {
	if t.unit == "" {
		return number(x) + " times"
	}
	return number(x) + " " + t.unit
}
