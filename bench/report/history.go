package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Entry has the target figures of one full run.
type Entry struct {
	Version string             `json:"version"`
	Commit  string             `json:"commit,omitempty"`
	Date    string             `json:"date"`
	Machine Machine            `json:"machine"`
	Figures map[string]float64 `json:"figures"` // by the names of the targets, in their units
}

// History has entries, the oldest build first.
type History []Entry

const (
	shownEntries = 5
	tolerated    = 0.15 // share of a figure; a smaller loss can be chance
)

// Entry returns the run's entry for the history. Figures that were not measured are left out.
func (r *Report) Entry() Entry {
	e := Entry{Version: r.Version, Commit: r.Commit, Date: r.Begun.UTC().Format("2006-01-02"), Machine: r.Machine, Figures: map[string]float64{}}
	e.Machine.Memory = math.Round(e.Machine.Memory)
	for _, t := range targets {
		if v := t.value(r); t.name != "" && !math.IsNaN(v) && !math.IsInf(v, 0) {
			e.Figures[t.name], _ = strconv.ParseFloat(fmt.Sprintf("%.4g", v), 64) // further digits differ from run to run
		}
	}
	return e
}

// With returns a copy of the history with one more entry. If the history has an entry of the same build on the same
// kind of machine, With replaces it.
func (h History) With(e Entry) History {
	h = slices.Clone(h)
	i := slices.IndexFunc(h, func(x Entry) bool { return x.build() == e.build() && x.sameMachine(e) })
	if i < 0 {
		return append(h, e)
	}
	h[i] = e
	return h
}

// build names the measured program: a release, or else a commit.
func (e Entry) build() string {
	if e.Commit != "" && (e.Version == "" || strings.HasPrefix(e.Version, "development")) {
		return e.Commit
	}
	return e.Version
}

func (e Entry) sameMachine(as Entry) bool {
	return e.Machine.Cores == as.Machine.Cores && math.Round(e.Machine.Memory) == math.Round(as.Machine.Memory)
}

// loss returns the share that the figure of an entry lost, compared with the entry before it on the same kind of machine. It
// is 0 without such an entry.
func (h History) loss(t target, of int) float64 {
	now, measured := h[of].Figures[t.name]
	if !measured {
		return 0
	}
	for i := of - 1; i >= 0; i-- {
		if before, known := h[i].Figures[t.name]; known && before > 0 && h[i].sameMachine(h[of]) {
			if t.most {
				return now/before - 1
			}
			return 1 - now/before
		}
	}
	return 0
}

// table writes the last entries, each as one column.
func (h History) table(b *strings.Builder) {
	if len(h) == 0 {
		return
	}
	first := max(0, len(h)-shownEntries)
	fmt.Fprintf(b, "\n## History\n\nThe figures of the targets in the last full runs. A bold figure is over %.0f %% worse than in the run before it on a machine with as many cores and as much memory.\n\n| figure |", 100*tolerated)
	for _, e := range h[first:] {
		fmt.Fprintf(b, " %s, %s, %d cores |", e.Date, oneLine(e.build()), e.Machine.Cores)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("--:|", len(h)-first))
	for _, t := range targets {
		if t.name != "" {
			fmt.Fprintf(b, "| %s |%s\n", t.text, h.row(t, first))
		}
	}
}

func (h History) row(t target, first int) string {
	var cells strings.Builder
	for i := first; i < len(h); i++ {
		v, measured := h[i].Figures[t.name]
		loss := h.loss(t, i)
		switch {
		case !measured:
			cells.WriteString(" – |")
		case loss > tolerated:
			fmt.Fprintf(&cells, " **%s**, %.0f %% worse |", t.amount(v), math.Ceil(100*loss))
		default:
			fmt.Fprintf(&cells, " %s |", t.amount(v))
		}
	}
	return cells.String()
}

// WriteJSON writes the history.
func (h History) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(h)
}

// ReadHistory reads the output of WriteJSON.
func ReadHistory(from io.Reader) (History, error) {
	var h History
	if err := json.NewDecoder(from).Decode(&h); err != nil {
		return nil, fmt.Errorf("read the history of the benchmark: %w", err)
	}
	return h, nil
}
