// Package report computes quantiles, ratios and targets from the samples of a benchmark's run, and writes them as a
// report. It measures nothing, and every figure is based on samples.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// Bare is the contender to which the others are compared.
const Bare = "bare ipykernel"

// Report is one run with all its samples.
type Report struct {
	Begun      time.Time   `json:"begun"`
	Seconds    float64     `json:"seconds"` // duration
	Quick      bool        `json:"quick"`   // fewer samples than a full run
	Version    string      `json:"version"` // of the measured program
	Commit     string      `json:"commit"`  // of the sources
	Machine    Machine     `json:"machine"`
	Contenders []Contender `json:"contenders"`
	Figures    []*Figure   `json:"figures"`
}

// Machine describes the machine of the run in general terms: no name, no user, no path.
type Machine struct {
	Cores  int     `json:"cores"`
	Memory float64 `json:"memory_gib"`
	Kernel string  `json:"kernel"`
	Cgroup string  `json:"cgroup"`
	Root   bool    `json:"root"`
}

// Contender is one compared tool.
type Contender struct {
	Name    string `json:"name"`
	What    string `json:"what"`
	LeftOut string `json:"left_out,omitempty"` // why it was left out
}

// Figure is one measurement with the results of all contenders.
type Figure struct {
	Key     string    `json:"key"`
	Title   string    `json:"title"`
	Unit    string    `json:"unit"`
	Higher  bool      `json:"higher"`             // more is better
	Note    string    `json:"note,omitempty"`     // note about this run
	LeftOut string    `json:"left_out,omitempty"` // why it was not measured
	Series  []*Series `json:"series"`
}

// Series holds the results of one contender.
type Series struct {
	Contender string    `json:"contender"`
	Samples   []float64 `json:"samples"`
	Failed    int       `json:"failed,omitempty"`
	Error     string    `json:"error,omitempty"`    // error of the last failure
	LeftOut   string    `json:"left_out,omitempty"` // why it was left out, or not measured completely
}

// Add returns the figure with this key. It adds the figure if it is new.
func (r *Report) Add(f Figure) *Figure {
	if have := r.Figure(f.Key); have != nil {
		return have
	}
	r.Figures = append(r.Figures, &f)
	return &f
}

// Figure returns the figure with this key, or nil.
func (r *Report) Figure(key string) *Figure {
	for _, f := range r.Figures {
		if f.Key == key {
			return f
		}
	}
	return nil
}

// SeriesOf returns a contender's series. It adds the series if it is new.
func (f *Figure) SeriesOf(contender string) *Series {
	if s := f.find(contender); s != nil {
		return s
	}
	s := &Series{Contender: contender}
	f.Series = append(f.Series, s)
	return s
}

func (f *Figure) find(contender string) *Series {
	if f == nil {
		return nil
	}
	for _, s := range f.Series {
		if s.Contender == contender {
			return s
		}
	}
	return nil
}

// Put adds samples.
func (s *Series) Put(samples ...float64) { s.Samples = append(s.Samples, samples...) }

// Took adds a duration in milliseconds.
func (s *Series) Took(d time.Duration) { s.Put(float64(d) / float64(time.Millisecond)) }

// Fail counts a failure.
func (s *Series) Fail(err error) {
	s.Failed++
	s.Error = err.Error()
}

// Quantile returns the smallest sample that at least the share q of all samples does not exceed (the nearest rank), or
// NaN without samples.
func (s *Series) Quantile(q float64) float64 {
	if s == nil || len(s.Samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s.Samples))
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9)) // avoids rounding errors: 0.9 times 10 is 9
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Ratio returns how many times better the series is than a contender at the median, or NaN without samples.
func (f *Figure) Ratio(s *Series, than string) float64 {
	ours, theirs := s.Quantile(0.5), f.find(than).Quantile(0.5)
	if f.Higher {
		return ours / theirs
	}
	return theirs / ours
}

// Scrub replaces text in all errors and reasons. Reports are published, and paths identify a machine.
func (r *Report) Scrub(with *strings.Replacer) {
	for i := range r.Contenders {
		r.Contenders[i].LeftOut = with.Replace(r.Contenders[i].LeftOut)
	}
	for _, f := range r.Figures {
		f.LeftOut = with.Replace(f.LeftOut)
		for _, s := range f.Series {
			s.Error, s.LeftOut = with.Replace(s.Error), with.Replace(s.LeftOut)
		}
	}
}

// WriteJSON writes the report with all samples.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(r)
}

// ReadJSON reads the output of WriteJSON.
func ReadJSON(from io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(from).Decode(&r); err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	return &r, nil
}
