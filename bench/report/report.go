// Package report turns the samples of a benchmark's run into figures: quantiles, ratios, and targets
// reached or missed. It measures nothing, and has no figure that no sample stands for.
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

// Bare is the contender that the others are compared with.
const Bare = "bare ipykernel"

// Report is one run with every sample of it.
type Report struct {
	Begun      time.Time   `json:"begun"`
	Seconds    float64     `json:"seconds"` // that it took
	Quick      bool        `json:"quick"`   // fewer samples than a full run
	Machine    Machine     `json:"machine"`
	Contenders []Contender `json:"contenders"`
	Figures    []*Figure   `json:"figures"`
}

// Machine says what the run was made on, in general terms: no name, no user, no path.
type Machine struct {
	Cores  int     `json:"cores"`
	Memory float64 `json:"memory_gib"`
	Kernel string  `json:"kernel"`
	Cgroup string  `json:"cgroup"`
	Root   bool    `json:"root"`
}

// Contender is one of those who were compared, or were to be.
type Contender struct {
	Name    string `json:"name"`
	What    string `json:"what"`
	LeftOut string `json:"left_out,omitempty"` // why it took no part
}

// Figure is one question with the answers of all contenders.
type Figure struct {
	Key     string    `json:"key"`
	Title   string    `json:"title"`
	Unit    string    `json:"unit"`
	Higher  bool      `json:"higher"`             // more is better
	Note    string    `json:"note,omitempty"`     // what is to be known of this run of it
	LeftOut string    `json:"left_out,omitempty"` // why nobody was asked
	Series  []*Series `json:"series"`
}

// Series is what one contender gave.
type Series struct {
	Contender string    `json:"contender"`
	Samples   []float64 `json:"samples"`
	Failed    int       `json:"failed,omitempty"`
	Error     string    `json:"error,omitempty"`    // of the last one that failed
	LeftOut   string    `json:"left_out,omitempty"` // why it was not asked, or not to the end
}

// Add returns the figure with that key, made if it is new.
func (r *Report) Add(f Figure) *Figure {
	if have := r.Figure(f.Key); have != nil {
		return have
	}
	r.Figures = append(r.Figures, &f)
	return &f
}

// Figure returns the figure with that key, nil if there is none.
func (r *Report) Figure(key string) *Figure {
	for _, f := range r.Figures {
		if f.Key == key {
			return f
		}
	}
	return nil
}

// Of returns a contender's series, made if it is new.
func (f *Figure) Of(contender string) *Series {
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

// Took adds how long something took, in milliseconds.
func (s *Series) Took(d time.Duration) { s.Put(float64(d) / float64(time.Millisecond)) }

// Fail counts one that failed.
func (s *Series) Fail(err error) {
	s.Failed++
	s.Error = err.Error()
}

// Quantile returns the smallest sample that at least q of all samples do not exceed (the nearest rank),
// NaN of none.
func (s *Series) Quantile(q float64) float64 {
	if s == nil || len(s.Samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s.Samples))
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9)) // 0.9 times 10 is 9, whatever the processor says
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Ratio returns how many times better the series is than a contender at the median, NaN when one of them
// has no samples.
func (f *Figure) Ratio(s *Series, than string) float64 {
	ours, theirs := s.Quantile(0.5), f.find(than).Quantile(0.5)
	if f.Higher {
		return ours / theirs
	}
	return theirs / ours
}

// Scrub replaces text in all errors and reasons: a report is passed on, and paths tell of their machine.
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

// WriteJSON writes the report with every sample.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(r)
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(from io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(from).Decode(&r); err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	return &r, nil
}
