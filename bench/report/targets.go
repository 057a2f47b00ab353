package report

import (
	"fmt"
	"math"
)

// target is a goal of the project.
type target struct {
	name  string // name in the history; "" if another target has the same value, or if the value varies by chance
	text  string
	of    ref
	over  *ref    // divisor; nil means that the figure itself counts
	less  *ref    // subtrahend; nil means none
	most  bool    // bound is a maximum, not a minimum
	aim   bool    // goal for a later version; the report does not emphasise a missed aim
	bound float64 // in unit
	unit  string  // unit of the measured value; "" means "times"
	scale float64 // factor from the figure's unit to unit; 0 means 1
	limit string  // reason if the target is missed; docs/explanation/performance.md has the details
}

// The reasons for missed targets.
const (
	warmLimit    = "warm: the create call, and the CPU time and wake-ups of a cell with pandas; each later cell with pandas needs the same CPU time and wake-ups"
	restoreLimit = "restores, which sustained creates and resumed sessions also need: CPU time to load the snapshot's pages, read the state of gVisor's kernel, and start and end gVisor's processes"
	cellLimit    = "`1+1`: five wake-ups between the server, the agent and the kernel, IPython's own time, and the server's commits"
	apiLimit     = "other APIs: the server translates, and MCP and Jupyter need more messages for a cell than /v1"
	loadLimit    = "cells a second: CPU time; for each cell, gVisor and the agent use more CPU time than the kernel does; the server also uses some"
	memoryLimit  = "memory of a session: the guest has about four fifths of it, because restored sessions do not share the pages of the snapshot; gVisor and the host kernel have the rest"
	burstLimit   = "the burst: CPU time, because each session beyond the warm ones needs a restore"
	orderLimit   = "the order of the burst: creations start in the order in which the server reads the calls; (cores + 1) creations run at the same time; if the server gets no CPU for a moment, it then reads several calls at once, in any order"
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
	BareRaw  = "bare ipykernel, raw ZeroMQ client"
	Stream   = "raw client of the stream, in the sandbox"
	Raw      = "raw ZeroMQ client, in the sandbox"
	Cellhold = "cellhold"
)

// Names of the APIs of a server.
const (
	V1      = "cellhold, /v1"
	MCP     = "cellhold, MCP"
	E2B     = "cellhold, E2B"
	Jupyter = "cellhold, Jupyter's WebSocket"
)

// targets are the goals for a machine with two cores. Some targets are ratios of two figures of one run, because
// a ratio depends less on the machine.
var targets = []target{
	{name: "warm", text: "create → first answer with pandas, warm, against a bare ipykernel", of: ref{"first", Bare, 0.5}, over: &ref{"first", Warm, 0.5}, bound: 70, limit: warmLimit},
	{name: "warm-ms", text: "create → first answer with pandas, warm, p50", of: ref{"first", Warm, 0.5}, most: true, aim: true, bound: 9, unit: "ms", limit: warmLimit},
	{name: "restore", text: "create → first answer with pandas, by restore, against a bare ipykernel", of: ref{"first", Bare, 0.5}, over: &ref{"first", Restore, 0.5}, bound: 4, limit: restoreLimit},
	{name: "restore-ms", text: "create → first answer with pandas, by restore, p50", of: ref{"first", Restore, 0.5}, most: true, aim: true, bound: 160, unit: "ms", limit: restoreLimit},
	{name: "article", text: "create → first answer with pandas, warm, against the article's design", of: ref{"first", Article, 0.5}, over: &ref{"first", Warm, 0.5}, bound: 50, limit: warmLimit},
	{name: "cell", text: "`1+1` over /v1 against a bare ipykernel, p50", of: ref{"cell", Cellhold, 0.5}, over: &ref{"cell", Bare, 0.5}, most: true, bound: 0.6, limit: cellLimit},
	{text: "`1+1` over /v1 against a bare ipykernel, p50", of: ref{"cell", Cellhold, 0.5}, over: &ref{"cell", Bare, 0.5}, most: true, aim: true, bound: 0.5, limit: cellLimit},
	{name: "mcp", text: "`1+1` over MCP, more than over /v1, p50", of: ref{"apis", MCP, 0.5}, less: &ref{"apis", V1, 0.5}, most: true, bound: 1, unit: "ms", limit: apiLimit},
	{name: "e2b", text: "`1+1` over E2B's API, more than over /v1, p50", of: ref{"apis", E2B, 0.5}, less: &ref{"apis", V1, 0.5}, most: true, bound: 1, unit: "ms", limit: apiLimit},
	{name: "jupyter", text: "`1+1` over Jupyter's WebSocket, more than over /v1, p50", of: ref{"apis", Jupyter, 0.5}, less: &ref{"apis", V1, 0.5}, most: true, bound: 1.5, unit: "ms", limit: apiLimit},
	{name: "gateway", text: "`1+1` over Jupyter's WebSocket against the Jupyter Kernel Gateway, p50", of: ref{"apis", Jupyter, 0.5}, over: &ref{"apis", Gateway, 0.5}, most: true, bound: 1, limit: apiLimit},
	{name: "load-1", text: "cells a second with 1 session, against a bare ipykernel", of: ref{"load-1", Restore, 0.5}, over: &ref{"load-1", Bare, 0.5}, bound: 1.5, limit: loadLimit},
	{name: "load-8", text: "cells a second with 8 sessions, against 8 bare ipykernels", of: ref{"load-8", Restore, 0.5}, over: &ref{"load-8", Bare, 0.5}, bound: 1.5, limit: loadLimit},
	{name: "load-32", text: "cells a second with 32 sessions, against 32 bare ipykernels", of: ref{"load-32", Restore, 0.5}, over: &ref{"load-32", Bare, 0.5}, bound: 1.2, limit: loadLimit},
	{name: "creates", text: "sustained creates", of: ref{"creates", Warm, 0.5}, bound: 6, unit: "/s", limit: restoreLimit},
	{text: "sustained creates", of: ref{"creates", Warm, 0.5}, aim: true, bound: 8, unit: "/s", limit: restoreLimit},
	{name: "memory", text: "memory of an idle warm session", of: ref{"memory", Warm, 0.5}, most: true, bound: 110, unit: "MB", limit: memoryLimit},
	{text: "memory of an idle warm session", of: ref{"memory", Warm, 0.5}, most: true, aim: true, bound: 100, unit: "MB", limit: memoryLimit},
	{name: "resume-10", text: "resume with 10 MB of state → first answer, p50", of: ref{"resume-10", Cellhold, 0.5}, most: true, bound: 180, unit: "ms", limit: restoreLimit},
	{name: "resume-300", text: "resume with 300 MB of state → first answer, p50", of: ref{"resume-300", Cellhold, 0.5}, most: true, bound: 400, unit: "ms", limit: restoreLimit},
	{text: "burst of 50 creates, none failed", of: ref{"burst-50-failed", Warm, 1}, most: true, bound: 0, unit: "failed"},
	{name: "burst-50", text: "burst of 50 creates, p99", of: ref{"burst-50", Warm, 0.99}, most: true, bound: 6, unit: "s", scale: 1e-3, limit: burstLimit},
	// The bound is the number of cores plus 2. On n cores, n+1 creations run at the same time and can end in any
	// order. When one of them ends, the next creation starts.
	{text: "burst of 50 creates, maximum number of later sessions that overtook one earlier session", of: ref{"burst-50-overtaken", Warm, 1}, most: true, bound: 4, unit: "sessions", limit: orderLimit},
}

// verdict is the result of one target in a report. limit is the reason if the target is missed.
type verdict struct{ text, want, got, result, limit string }

// judge compares a target with the measured value.
func (t target) judge(r *Report) verdict {
	v := verdict{text: t.text, want: t.wanted()}
	got := t.value(r)
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

// wanted describes the bound.
func (t target) wanted() string {
	text := "at least "
	if t.most {
		text = "at most "
	}
	if t.aim {
		text = "aim: " + text
	}
	return text + t.amount(t.bound)
}

// value returns the measured value in the target's unit, or NaN without samples.
func (t target) value(r *Report) float64 {
	got := r.quantile(t.of)
	if t.over != nil {
		got /= r.quantile(*t.over)
	}
	if t.less != nil {
		got -= r.quantile(*t.less)
	}
	if t.scale != 0 {
		got *= t.scale
	}
	return got
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
	by := fmt.Sprintf("by %.0f %%", math.Ceil(100*math.Abs(got-t.bound)/t.bound))
	if t.aim {
		return "aim missed " + by
	}
	return "**missed** " + by
}

// quantile returns a quantile of a series, or NaN without samples.
func (r *Report) quantile(at ref) float64 {
	return r.Figure(at.figure).find(at.contender).Quantile(at.q)
}

func (t target) amount(x float64) string {
	if t.unit == "" {
		return number(x) + " times"
	}
	return number(x) + " " + t.unit
}
