package notebook

import (
	"cellhold"
	"encoding/json"
	"fmt"
	"strings"
)

// Bounds is how much of a cell's output is kept. Zero fields mean the values of DefaultBounds.
type Bounds struct {
	Text    int   // bytes of stream text: the first half of it and the last half
	Data    int64 // bytes of displays and results
	Outputs int   // outputs of all types; one error and one notice come on top
}

// DefaultBounds is far more than people read and little enough for a server with many cells.
var DefaultBounds = Bounds{Text: 1 << 20, Data: 32 << 20, Outputs: 1000}

// maxDisplayID bounds the name of a display; longer ones are no names.
const maxDisplayID = 256

// Update is the new content of all displays with that id, in whichever cell they are.
type Update struct {
	DisplayID string
	Data      map[string]json.RawMessage
	Metadata  map[string]json.RawMessage
}

// Apply replaces the displays at those places of a cell's outputs.
func (u Update) Apply(outputs []cellhold.Output, at []int) {
	for _, i := range at {
		if i >= 0 && i < len(outputs) {
			outputs[i].Data, outputs[i].Metadata = u.Data, u.Metadata
		}
	}
}

func (u Update) size() int64 { return bundleSize(u.Data) + bundleSize(u.Metadata) }

// Folder folds the events of one cell into its outputs. It is not for several goroutines.
type Folder struct {
	bounds  Bounds
	outputs []*output
	text    keeper
	data    int64 // bytes of all displays in outputs
	dropped int64

	clearNext bool // clear_output with wait: at the next output
	failed    bool // there is an error among the outputs
	lost      int  // outputs that did not fit
	lostBytes int64

	displays    map[string][]int // places of the displays with an id
	updates     map[string]Update
	updateBytes int64
}

// output is one output; a stream's text is in the keeper until it is asked for.
type output struct {
	cellhold.Output
	text *kept
	size int64
}

// New returns a Folder for one cell.
func New(b Bounds) *Folder {
	if b.Text <= 0 {
		b.Text = DefaultBounds.Text
	}
	if b.Data <= 0 {
		b.Data = DefaultBounds.Data
	}
	if b.Outputs <= 0 {
		b.Outputs = DefaultBounds.Outputs
	}
	f := &Folder{bounds: b, updates: make(map[string]Update)}
	f.clear()
	return f
}

// Add folds one event in. Types that are no outputs are ignored. An event whose content is not
// what its type says changes nothing and is an error.
func (f *Folder) Add(ev cellhold.Event) error {
	switch ev.Type {
	case cellhold.EventStream:
		return add(ev, f.addStream)
	case cellhold.EventDisplayData, cellhold.EventExecuteResult:
		return add(ev, func(c cellhold.DisplayContent) { f.addDisplay(ev.Type, c) })
	case cellhold.EventUpdateDisplayData:
		return add(ev, func(c cellhold.DisplayContent) { f.update(displayID(c), cleaned(c)) })
	case cellhold.EventError:
		return add(ev, f.addError)
	case cellhold.EventClearOutput:
		return add(ev, f.addClear)
	case cellhold.EventOutputDropped:
		return add(ev, f.addDropped)
	}
	return nil
}

func add[T any](ev cellhold.Event, to func(T)) error {
	var content T
	if err := ev.Decode(&content); err != nil {
		return fmt.Errorf("fold output: %w", err)
	}
	to(content)
	return nil
}

// Dropped returns the bytes of output that were left out, here and before they came here.
func (f *Folder) Dropped() int64 { return f.dropped }

// Outputs returns what the cell put out so far. The caller may keep it.
func (f *Folder) Outputs() []cellhold.Output {
	f.dropped += f.text.trim()
	outs := make([]cellhold.Output, 0, len(f.outputs)+1)
	for _, o := range f.outputs {
		out := o.Output
		if o.text != nil {
			out.Text = f.text.render(o.text)
		}
		outs = append(outs, out)
	}
	if f.lost > 0 {
		notice := fmt.Sprintf("… %d more outputs with %d bytes left out …\n", f.lost, f.lostBytes)
		outs = append(outs, cellhold.Output{Type: cellhold.EventStream, Name: "stderr", Text: notice})
	}
	return outs
}

// Displays returns the places, in Outputs, of the displays that have an id. Whoever keeps them can
// apply the updates of later cells.
func (f *Folder) Displays() map[string][]int { return f.displays }

// Updates returns the newest content of each display id that the cell has shown or updated. It is
// applied here already; displays of that id in earlier cells must get it too.
func (f *Folder) Updates() []Update {
	list := make([]Update, 0, len(f.updates))
	for _, u := range f.updates {
		list = append(list, u)
	}
	return list
}

func (f *Folder) clear() {
	f.outputs, f.data, f.failed, f.clearNext = nil, 0, false, false
	f.text = keeper{half: f.bounds.Text / 2}
	f.lost, f.lostBytes = 0, 0
	f.displays = make(map[string][]int)
}

// next returns a place for one more output, or nil when there is none.
func (f *Folder) next(t cellhold.EventType, size int64) *output {
	room := len(f.outputs) < f.bounds.Outputs && f.data+size <= f.bounds.Data
	if t == cellhold.EventError {
		room = room || !f.failed // the one thing nobody can do without; it is bounded by itself
	}
	if !room {
		f.lost++
		f.lostBytes += size
		f.dropped += size
		return nil
	}
	f.text.finish()
	o := &output{Output: cellhold.Output{Type: t}, size: size}
	f.outputs = append(f.outputs, o)
	f.data += size
	return o
}

// arrive does what is due when an output comes.
func (f *Folder) arrive() {
	if f.clearNext {
		f.clear()
	}
}

func (f *Folder) addStream(c cellhold.StreamContent) {
	if c.Text == "" {
		return
	}
	if c.Name != "stderr" { // there are two streams, whatever a kernel says
		c.Name = "stdout"
	}
	f.arrive()
	if n := len(f.outputs); n == 0 || f.outputs[n-1].Name != c.Name { // not a piece of the last one
		o := f.next(cellhold.EventStream, 0)
		if o == nil {
			f.lostBytes += int64(len(c.Text))
			f.dropped += int64(len(c.Text))
			return
		}
		o.Name, o.text = c.Name, f.text.begin()
	}
	f.dropped += f.text.write(strings.ToValidUTF8(c.Text, "\ufffd"))
}

func (f *Folder) addDisplay(t cellhold.EventType, c cellhold.DisplayContent) {
	f.arrive()
	u, id := cleaned(c), displayID(c)
	f.update(id, u) // a display shown again changes where it was shown before
	o := f.next(t, u.size())
	if o == nil {
		return
	}
	o.Data, o.Metadata = u.Data, u.Metadata
	if t == cellhold.EventExecuteResult {
		o.ExecutionCount = max(c.ExecutionCount, 0)
	}
	if id != "" {
		f.displays[id] = append(f.displays[id], len(f.outputs)-1)
	}
}

// update changes the displays of that id here and remembers to do so in other cells.
func (f *Folder) update(id string, u Update) {
	if id == "" {
		return
	}
	u.DisplayID = id
	size, old := u.size(), f.updates[id].size()
	_, known := f.updates[id]
	if !known && len(f.updates) >= f.bounds.Outputs || f.updateBytes+size-old > f.bounds.Data {
		f.dropped += size
		return
	}
	f.updates[id] = u
	f.updateBytes += size - old
	for _, i := range f.displays[id] {
		o := f.outputs[i]
		if f.data+size-o.size > f.bounds.Data {
			f.dropped += size
			continue
		}
		f.data += size - o.size
		o.Data, o.Metadata, o.size = u.Data, u.Metadata, size
	}
}

func (f *Folder) addClear(c cellhold.ClearOutputContent) {
	if c.Wait {
		f.clearNext = true
		return
	}
	f.clear()
}

// addDropped says in the output itself that something is missing, where it is missing.
func (f *Folder) addDropped(c cellhold.OutputDroppedContent) {
	n := max(c.Bytes, 0)
	f.addStream(cellhold.StreamContent{Name: "stderr", Text: leftOut(n)})
	f.dropped += n
}

// leftOut is the line that stands where text is missing.
func leftOut(n int64) string { return fmt.Sprintf("… %d bytes left out …\n", n) }

// Bounds of an error, each far above what Python prints.
const (
	maxErrorName  = 1 << 10
	maxErrorValue = 64 << 10
	maxTraceback  = 256 << 10
)

func (f *Folder) addError(c cellhold.ErrorContent) {
	f.arrive()
	e := cellhold.Output{
		Type:       cellhold.EventError,
		ErrorName:  f.shorten(c.Name, maxErrorName),
		ErrorValue: f.shorten(c.Value, maxErrorValue),
		Traceback:  f.shortenAll(c.Traceback, maxTraceback),
	}
	size := len(e.ErrorName) + len(e.ErrorValue)
	for _, entry := range e.Traceback {
		size += len(entry)
	}
	if o := f.next(e.Type, int64(size)); o != nil {
		o.Output, f.failed = e, true
	}
}

// shortenAll keeps the first entries of a traceback; the last of them says what is missing.
func (f *Folder) shortenAll(list []string, n int) (kept []string) {
	const entry = 16 // what an empty one takes in memory
	for i, s := range list {
		if n <= entry {
			missing := int64(0)
			for _, rest := range list[i:] {
				missing += int64(len(rest))
			}
			f.dropped += missing
			return append(kept, leftOut(missing))
		}
		s = f.shorten(s, n-entry)
		n -= len(s) + entry
		kept = append(kept, s)
	}
	return kept
}

func (f *Folder) shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n = cut(s, n)
	f.dropped += int64(len(s) - n)
	return s[:n] + "…"
}

func cleaned(c cellhold.DisplayContent) Update {
	return Update{Data: cleanBundle(c.Data), Metadata: cleanMetadata(c.Metadata)}
}

func displayID(c cellhold.DisplayContent) string {
	if c.Transient == nil || len(c.Transient.DisplayID) > maxDisplayID {
		return ""
	}
	return c.Transient.DisplayID
}

func bundleSize(m map[string]json.RawMessage) (n int64) {
	for key, value := range m {
		n += int64(len(key) + len(value))
	}
	return n
}
