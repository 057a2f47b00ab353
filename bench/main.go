// Command bench measures how fast cellhold is on this machine, beside what else people run code of
// models with, all in one run and in turns, and writes a report with every sample of it. README.md
// says what each figure means.
//
//	go run ./bench [-quick] [-only first,cell] [-out bench/results]
package main

import (
	"context"
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

// options are the settings of a run.
type options struct {
	program string   // cellhold's binary
	home    string   // a home that has the image
	python  string   // of the venv with bench/requirements.txt
	image   string   // of Docker, for llm-sandbox
	sources string   // the folder bench of the repository
	out     string   // for the report
	only    []string // figures; empty means all
	with    []string // contenders; empty means all
	warm    int      // sandboxes that are kept ready
	quick   bool
	render  string // results to make the page of again, instead of measuring
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
	flag.StringVar(&o.program, "cellhold", "build/bin/cellhold", "the program")
	flag.StringVar(&o.home, "home", "build/home", "a home with the stock image in it")
	flag.StringVar(&o.python, "python", "build/benchvenv/bin/python", "the Python of the other contenders")
	flag.StringVar(&o.image, "docker-image", "cellhold-bench", "the stock image as Docker knows it, for llm-sandbox")
	flag.StringVar(&o.sources, "sources", "bench", "the folder of the contenders' programs")
	flag.StringVar(&o.out, "out", "bench/results", "where the report goes")
	flag.StringVar(&only, "only", "", "measure only these: "+strings.Join(stepNames(), ","))
	flag.StringVar(&with, "with", "", "only these contenders: warm,restore,cold,bare,article,gateway,llm")
	flag.IntVar(&o.warm, "warm", 8, "sandboxes that are kept ready")
	flag.BoolVar(&o.quick, "quick", false, "a few minutes, with fewer samples")
	flag.StringVar(&o.render, "render", "", "make the page of this results.json again, and measure nothing")
	flag.Parse()
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	if with != "" {
		o.with = strings.Split(with, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(stepNames(), name) {
			fmt.Fprintf(os.Stderr, "bench: there is no figure %q; there are %s\n", name, strings.Join(stepNames(), ", "))
			os.Exit(2)
		}
	}
	return o
}

// measure does the whole run. What was measured before a Ctrl-C is written too.
func measure(ctx context.Context, o options) error {
	b, err := newBench(o)
	if err != nil {
		return err
	}
	b.steps(ctx)
	charts := b.charts(ctx)
	b.close()
	b.report.Scrub(strings.NewReplacer(b.temp, "TEMP", b.o.sources, "bench", b.o.home, "HOME", b.o.program, "cellhold", filepath.Dir(b.o.python), "VENV"))
	b.report.Seconds = time.Since(b.report.Begun).Seconds()
	if err := write(b.report, o.out, charts); err != nil {
		return err
	}
	fmt.Printf("\nThe report is %s\n", filepath.Join(o.out, "report.md"))
	return context.Cause(ctx)
}

// renderAgain writes the page for results that are there.
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
	var charts []report.Chart
	for _, c := range pictures {
		if _, err := os.Stat(filepath.Join(o.out, c.File)); err == nil {
			charts = append(charts, c)
		}
	}
	return write(r, o.out, charts)
}

// write writes page and samples.
func write(r *report.Report, out string, charts []report.Chart) error {
	page, err := os.Create(filepath.Join(out, "report.md"))
	if err != nil {
		return err
	}
	defer page.Close()
	if err := r.WriteMarkdown(page, charts); err != nil {
		return err
	}
	raw, err := os.Create(filepath.Join(out, "results.json"))
	if err != nil {
		return err
	}
	defer raw.Close()
	return r.WriteJSON(raw)
}
