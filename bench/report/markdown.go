package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// Chart is a picture in the report.
type Chart struct{ File, Title string }

// WriteMarkdown writes the report as Markdown with tables.
func (r *Report) WriteMarkdown(w io.Writer, charts []Chart, history History) error {
	var b strings.Builder
	r.head(&b)
	r.judged(&b)
	history.table(&b)
	for _, c := range charts {
		fmt.Fprintf(&b, "\n![%s](%s)\n", c.Title, c.File)
	}
	for _, f := range r.Figures {
		f.table(&b)
	}
	r.who(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) head(b *strings.Builder) {
	m := r.Machine
	fmt.Fprintf(b, "# Benchmark of %s\n\n", r.Begun.UTC().Format("2006-01-02"))
	if r.Version != "" {
		fmt.Fprintf(b, "cellhold %s%s. ", r.Version, iff(r.Commit != "", ", commit "+r.Commit))
	}
	fmt.Fprintf(b, "%d cores, %.0f GiB of memory, Linux %s, cgroup %s", m.Cores, m.Memory, m.Kernel, m.Cgroup)
	if !m.Root {
		b.WriteString(", as a plain user")
	}
	fmt.Fprintf(b, "; the run took %s. bench/README.md explains each figure and how to measure it again. The article is the one in docs/how-to/use-the-articles-client.md.\n", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second))
	if r.Quick {
		b.WriteString("\n**A quick run:** fewer samples, shorter steps. If there are too few samples for a quantile, the table shows the worst sample.\n")
	}
}

func (r *Report) judged(b *strings.Builder) {
	b.WriteString("\n## Targets\n\n| figure | wanted | measured | |\n|---|---|---|---|\n")
	var limits []string // each once
	for _, t := range targets {
		v := t.judge(r)
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", v.text, v.want, v.got, v.result)
		if v.limit != "" && !slices.Contains(limits, v.limit) {
			limits = append(limits, v.limit)
		}
	}
	if len(limits) > 0 {
		b.WriteString("\nReasons for the missed targets and aims; docs/explanation/performance.md has the figures:\n\n")
	}
	for _, l := range limits {
		fmt.Fprintf(b, "- %s\n", l)
	}
}

func (f *Figure) table(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n", f.Title)
	if f.Note != "" {
		fmt.Fprintf(b, "\n%s\n", f.Note)
	}
	if f.LeftOut != "" {
		fmt.Fprintf(b, "\nLeft out: %s.\n", strings.TrimSuffix(oneLine(f.LeftOut), "."))
	}
	// Figures in sessions count failures and overtaken sessions. They are often 0, so a ratio says nothing.
	ratio := f.Unit != "sessions" && f.find(Bare) != nil && len(f.find(Bare).Samples) > 0
	var rows strings.Builder
	for _, s := range f.Series {
		if len(s.Samples) > 0 {
			rows.WriteString(f.row(s, ratio))
		}
	}
	if rows.Len() > 0 {
		fmt.Fprintf(b, "\n| %s | %s | n |%s\n|---|--:|--:|--:|--:|%s\n%s", f.Unit, f.columns(), iff(ratio, " against bare |"), iff(ratio, "--:|"), rows.String())
	}
	f.missing(b)
}

// columns returns the names of the quantiles, from the median to the worst.
func (f *Figure) columns() string {
	if f.Higher {
		return "p50 | p10 | p1"
	}
	return "p50 | p90 | p99"
}

func (f *Figure) row(s *Series, ratio bool) string {
	worse, worst := 0.9, 0.99
	if f.Higher {
		worse, worst = 0.1, 0.01
	}
	line := fmt.Sprintf("| %s | %s | %s | %s | %d |", s.Contender, number(s.Quantile(0.5)), number(s.Quantile(worse)), number(s.Quantile(worst)), len(s.Samples))
	if ratio {
		line += fmt.Sprintf(" %s × |", number(f.Ratio(s, Bare)))
	}
	return line + "\n"
}

// missing reports failures, and contenders that were left out.
func (f *Figure) missing(b *strings.Builder) {
	for _, s := range f.Series {
		if s.LeftOut != "" {
			fmt.Fprintf(b, "\n%s was left out: %s.\n", s.Contender, strings.TrimSuffix(oneLine(s.LeftOut), "."))
		}
		if s.Failed > 0 {
			text := strings.TrimSuffix(oneLine(s.Error), ":") // Python's form of an exception without text: "Empty: "
			fmt.Fprintf(b, "\nFailures of %s: %d. The last error: %s\n", s.Contender, s.Failed, text)
		}
	}
}

// inSandbox describes the series that are measured inside a sandbox of cellhold.
var inSandbox = []Contender{
	{Name: Stream, What: "a client of the image's kernel without the agent and the server: bench/inside/raw_client.py. Client and kernel run in one sandbox of cellhold."},
	{Name: Raw, What: "the same for ipykernel over ZeroMQ, with the image's settings, in the same sandbox."},
}

func (r *Report) who(b *strings.Builder) {
	b.WriteString("\n## Contenders\n\n")
	for _, c := range r.Contenders {
		fmt.Fprintf(b, "- **%s**: %s", c.Name, c.What)
		if c.LeftOut != "" {
			fmt.Fprintf(b, " Left out: %s.", strings.TrimSuffix(oneLine(c.LeftOut), "."))
		}
		b.WriteString("\n")
	}
	for _, c := range inSandbox {
		if r.Figure("cell").find(c.Name) != nil {
			fmt.Fprintf(b, "- **%s**: %s\n", c.Name, c.What)
		}
	}
}

// number prints about three digits; further digits differ from run to run.
func number(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case math.Abs(x) >= 100 || x == math.Trunc(x) && math.Abs(x) < 1e6:
		return fmt.Sprintf("%.0f", x)
	case math.Abs(x) >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func iff(yes bool, s string) string {
	if yes {
		return s
	}
	return ""
}

// oneLine prevents an error of a contender from changing the structure of the page.
func oneLine(s string) string {
	const most = 300 // bytes; enough to identify the error
	s = strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "/")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
