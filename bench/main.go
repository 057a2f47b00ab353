// Command bench measures the speed of cellhold and of other tools on this machine. All contenders run in one run, in turns. It
// writes a report with every sample. README.md explains each figure.
//
//	go run ./bench [-quick] [-only first,cell] [-out bench/results]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cellhold/bench/report"
)

// options are the flags of a run.
type options struct {
	program string   // cellhold's binary
	home    string   // a home with the image
	python  string   // the Python of the venv with bench/requirements.txt
	image   string   // the Docker image for llm-sandbox
	sources string   // the folder bench of the repository
	out     string   // folder for the report
	only    []string // figures; empty means all
	with    []string // contenders; empty means all
	warm    int      // number of warm sandboxes
	quick   bool
	render  string // results to render again, instead of a measurement
}

func main() {
	o := parse()
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	do := measure
	if o.render != "" {
		do = renderAgain
	}
	if err := do(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	var only, with string
	flag.StringVar(&o.program, "cellhold", "build/bin/cellhold", "path of the cellhold binary")
	flag.StringVar(&o.home, "home", "build/home", "home with the stock image")
	flag.StringVar(&o.python, "python", "build/benchvenv/bin/python", "Python of the other contenders")
	flag.StringVar(&o.image, "docker-image", "cellhold-bench", "Docker's name of the stock image, for llm-sandbox")
	flag.StringVar(&o.sources, "sources", "bench", "folder of the contenders' programs")
	flag.StringVar(&o.out, "out", "bench/results", "folder for the report")
	flag.StringVar(&only, "only", "", "comma-separated figures to measure: "+strings.Join(stepNames(), ","))
	flag.StringVar(&with, "with", "", "comma-separated contenders: warm,restore,cold,bare,raw,article,gateway,llm")
	flag.IntVar(&o.warm, "warm", 8, "number of warm sandboxes")
	flag.BoolVar(&o.quick, "quick", false, "fewer samples; takes a few minutes")
	flag.StringVar(&o.render, "render", "", "render the report of this results.json without a measurement")
	flag.Parse()
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	if with != "" {
		o.with = strings.Split(with, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(stepNames(), name) {
			fmt.Fprintf(os.Stderr, "bench: unknown figure %q; the figures are %s\n", name, strings.Join(stepNames(), ", "))
			os.Exit(2)
		}
	}
	return o
}

// measure does the whole run. After Ctrl-C it writes the results so far.
func measure(ctx context.Context, o options) error {
	history, err := readHistory(o)
	if err != nil {
		return err
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	b.report.Version, b.report.Commit = versionOf(ctx, b.o.program), commitOf(ctx, b.o.sources)
	b.steps(ctx)
	charts := b.charts(ctx)
	b.close()
	b.report.Scrub(strings.NewReplacer(b.temp, "TEMP", b.o.sources, "bench", b.o.home, "HOME", b.o.program, "cellhold", filepath.Dir(b.o.python), "VENV"))
	b.report.Seconds = time.Since(b.report.Begun).Seconds()
	if o.full() && ctx.Err() == nil {
		history, err = extendHistory(b.o, history, b.report)
	}
	if err := errors.Join(err, write(b.report, o.out, charts, history)); err != nil {
		return err
	}
	fmt.Printf("\nThe report is %s\n", filepath.Join(o.out, "report.md"))
	return context.Cause(ctx)
}

// renderAgain renders the report of existing results.
func renderAgain(_ context.Context, o options) error {
	f, err := os.Open(o.render)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := report.ReadJSON(f)
	if err != nil {
		return err
	}
	history, err := readHistory(o)
	if err != nil {
		return err
	}
	var charts []report.Chart
	for _, c := range pictures {
		if _, err := os.Stat(filepath.Join(o.out, c.File)); err == nil {
			charts = append(charts, c)
		}
	}
	return write(r, o.out, charts, history)
}

// write writes the report and the samples.
func write(r *report.Report, out string, charts []report.Chart, history report.History) error {
	page, err := os.Create(filepath.Join(out, "report.md"))
	if err != nil {
		return err
	}
	defer page.Close()
	if err := r.WriteMarkdown(page, charts, history); err != nil {
		return err
	}
	raw, err := os.Create(filepath.Join(out, "results.json"))
	if err != nil {
		return err
	}
	defer raw.Close()
	return r.WriteJSON(raw)
}
