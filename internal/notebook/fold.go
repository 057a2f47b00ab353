package notebook

import (
	"cellhold"
	"cellhold/internal/outputs"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Bounds limits how much of a cell's output is kept. Zero fields mean the values of DefaultBounds.
type Bounds struct {
	Text    int   // bytes of stream text: half for the beginning of the text, half for its end
	Data    int64 // bytes that all outputs take as JSON; half of them for one output
	Outputs int   // outputs of all types, plus one error and one notice
}

// DefaultBounds allows more output than people read, and little enough for a server with many cells.
var DefaultBounds = Bounds{Text: 1 << 20, Data: 32 << 20, Outputs: 1000}

// maxDisplayID bounds the id of a display; longer ids are ignored.
const maxDisplayID = 256

// Update is the new content of all displays with an id, in all cells.
type Update struct {
	DisplayID string
	Data      map[string]json.RawMessage
	Metadata  map[string]json.RawMessage
}

// Replace applies updates to the outputs of an earlier cell, and reports whether they changed. Outputs that
// would become too large stay unchanged.
func Replace(list []cellhold.Output, updates []Update) (changed bool) {
	for _, u := range updates {
		before := slices.Clone(list)
		switch found := u.apply(list); {
		case found && outputs.Size(list) > DefaultBounds.Data:
			copy(list, before)
		case found:
			changed = true
		}
	}
	return changed
}

// apply replaces the displays with the id of the update, and reports whether there were any.
func (u Update) apply(list []cellhold.Output) (found bool) {
	for i := range list {
		if o := &list[i]; o.DisplayID == u.DisplayID && u.DisplayID != "" {
			o.Data, o.Metadata, found = u.Data, u.Metadata, true
		}
	}
	return found
}

func (u Update) size() int64 { return bundleSize(u.Data) + bundleSize(u.Metadata) }

// Folder folds the events of one cell into its outputs. Time and memory grow only linearly with the number of
// events. Only one goroutine can use it at a time.
type Folder struct {
	bounds  Bounds
	outputs []*output
	text    keeper
	data    int64 // bytes of all displays and errors in outputs, as JSON
	bytes   int64 // bytes of all output
	dropped int64 // bytes of the output that was left out

	clearNext bool // clear at the next output, after clear_output with wait
	head      int  // outputs that stay when others are dropped; 0 while there is space
	lost      int  // outputs that were dropped
	lostBytes int64

	shown       map[string]int // number of outputs by display id
	updates     map[string]Update
	updateBytes int64
}

// output is one output. The text of a stream is in the keeper until it is needed. The content of a display
// with an id is in the newest update.
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

// Continue returns a Folder that continues after a cell's outputs.
func Continue(c cellhold.Cell) *Folder {
	f := New(Bounds{})
	for _, o := range c.Outputs {
		var ev cellhold.Event
		switch o.Type {
		case cellhold.EventStream:
			ev = cellhold.NewEvent(o.Type, "", "", cellhold.StreamContent{Name: o.Name, Text: o.Text})
		case cellhold.EventError:
			ev = cellhold.NewEvent(o.Type, "", "", cellhold.ErrorContent{Name: o.ErrorName, Value: *cmp.Or(o.ErrorValue, new(string)), Traceback: o.Traceback})
		default:
			content := cellhold.DisplayContent{Data: o.Data, Metadata: o.Metadata, ExecutionCount: o.ExecutionCount}
			if o.DisplayID != "" {
				content.Transient = &cellhold.Transient{DisplayID: o.DisplayID}
			}
			ev = cellhold.NewEvent(o.Type, "", "", content)
		}
		_ = f.Add(ev) // cannot fail: outputs of a Folder are valid
		if n := len(f.outputs); n > 0 && o.Truncated {
			last := &f.outputs[n-1].Output
			last.Truncated, last.Bytes, last.Omitted = true, o.Bytes, o.Omitted
		}
	}
	f.bytes, f.dropped = c.Bytes, c.Omitted
	return f
}

// Replace applies updates to the displays of the cell, and ignores other ids.
func (f *Folder) Replace(updates []Update) {
	for _, u := range updates {
		if f.shown[u.DisplayID] > 0 {
			f.update(u.DisplayID, u)
		}
	}
}

// Add folds one event. It ignores events that are not outputs. If the content does not match the type, Add
// changes nothing and returns an error.
func (f *Folder) Add(ev cellhold.Event) error {
	switch ev.Type {
	case cellhold.EventStream:
		return add(ev, f.addStream)
	case cellhold.EventDisplayData, cellhold.EventExecuteResult:
		return add(ev, func(c cellhold.DisplayContent) { f.addDisplay(ev.Type, c) })
	case cellhold.EventUpdateDisplayData:
		return add(ev, f.addUpdate)
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

// Bytes returns the size of all output of the cell: text and displays as they were sent, and output that
// was dropped before.
func (f *Folder) Bytes() int64 { return f.bytes }

// Dropped returns the size of the output that was left out, in the Folder or before. Output that a progress
// bar or an update has replaced does not count.
func (f *Folder) Dropped() int64 { return f.dropped }

// outputCost is the memory of an output without its content.
const outputCost = 512

// Held returns the approximate memory of the Folder in bytes.
func (f *Folder) Held() int64 {
	return f.text.held() + f.data + f.updateBytes + int64(len(f.outputs))*outputCost
}

// Outputs returns the outputs so far. The caller can keep them.
func (f *Folder) Outputs() []cellhold.Output {
	f.dropped += f.text.trim()
	outs := make([]cellhold.Output, 0, len(f.outputs)+1)
	for i, o := range f.outputs {
		if i == f.head && f.lost > 0 {
			outs = append(outs, f.notice())
		}
		outs = append(outs, f.render(o))
	}
	if len(f.outputs) <= f.head && f.lost > 0 {
		outs = append(outs, f.notice())
	}
	return outs
}

// notice returns the output that replaces missing outputs.
func (f *Folder) notice() cellhold.Output {
	text := fmt.Sprintf("… %d outputs with %d bytes left out …\n", f.lost, f.lostBytes)
	return cellhold.Output{Type: cellhold.EventStream, Name: "stderr", Text: text,
		Truncated: true, Bytes: f.lostBytes, Omitted: f.lostBytes}
}

func (f *Folder) render(o *output) cellhold.Output {
	out := o.Output
	if s := o.text; s != nil {
		out.Text = f.text.render(s)
		if s.cut > 0 {
			out.Truncated, out.Bytes, out.Omitted = true, s.bytes, s.cut
		}
	}
	if out.DisplayID != "" {
		u := f.updates[out.DisplayID]
		out.Data, out.Metadata = u.Data, u.Metadata
	}
	return out
}

// Updates returns the newest content of each display id that the cell has shown or updated. The content
// is applied to this cell already. The caller must apply it to displays in earlier cells.
func (f *Folder) Updates() []Update {
	list := make([]Update, 0, len(f.updates))
	for _, u := range f.updates {
		list = append(list, u)
	}
	return list
}

func (f *Folder) clear() {
	f.outputs, f.data, f.head, f.clearNext = nil, 0, 0, false
	f.text = keeper{half: f.bounds.Text / 2}
	f.lost, f.lostBytes = 0, 0
	f.shown = make(map[string]int)
}

// next returns a new output, or nil if it would be too large. If there is no space, the oldest output of
// the second half is dropped: the beginning and the end of the output are the most useful parts.
func (f *Folder) next(t cellhold.EventType, size int64) *output {
	if size > f.bounds.Data/2 && t != cellhold.EventError { // an error has bounds of its own, and is always kept
		f.lose(size)
		return nil
	}
	f.text.finish()
	f.makeSpace(1, size)
	o := &output{Output: cellhold.Output{Type: t}, size: size}
	f.outputs = append(f.outputs, o)
	f.data += size
	return o
}

// makeSpace drops outputs until there is space for more outputs of the given size.
func (f *Folder) makeSpace(more int, size int64) {
	for len(f.outputs)+more > f.bounds.Outputs || f.data+size > f.space() {
		if f.head == 0 {
			f.head = f.firstHalf()
		}
		// Without more outputs, the last one stays, because its text is not complete yet.
		if len(f.outputs) <= f.head || more == 0 && len(f.outputs) == f.head+1 {
			return
		}
		f.evict(f.head)
	}
}

// space returns the bytes for displays and errors: those that the text does not take, without a part for the other
// members of the outputs.
func (f *Folder) space() int64 {
	const others = 32
	return f.bounds.Data - f.bounds.Data/others - f.text.coded
}

// firstHalf returns how many of the first outputs fit into half of the bounds.
func (f *Folder) firstHalf() (n int) {
	data := int64(0)
	for n < len(f.outputs) && n < f.bounds.Outputs/2 && data+f.outputs[n].size <= f.bounds.Data/2 {
		data += f.outputs[n].size
		n++
	}
	return n
}

// evict drops one output.
func (f *Folder) evict(i int) {
	o := f.outputs[i]
	f.outputs = slices.Delete(f.outputs, i, i+1)
	size := o.size
	if id := o.DisplayID; id != "" {
		size = f.updates[id].size()
		if f.shown[id]--; f.shown[id] == 0 {
			delete(f.shown, id)
		}
	}
	f.data -= size
	if o.text != nil {
		size = f.text.evict(o.text)
	}
	f.lose(size)
}

// LeaveOut counts an output of the given size as one that is missing.
func (f *Folder) LeaveOut(size int64) {
	if f.head == 0 {
		f.head = f.firstHalf()
	}
	f.bytes += size
	f.lose(size)
}

func (f *Folder) lose(size int64) {
	f.lost++
	f.lostBytes += size
	f.dropped += size
}

// applyClear applies a pending clear_output before a new output.
func (f *Folder) applyClear() {
	if f.clearNext {
		f.clear()
	}
}

func (f *Folder) addStream(c cellhold.StreamContent) {
	if c.Text == "" {
		return
	}
	f.bytes += int64(len(c.Text))
	f.stream(c.Name, c.Text)
}

func (f *Folder) stream(name, text string) {
	if name != "stderr" { // every name except stderr counts as stdout
		name = "stdout"
	}
	f.applyClear()
	if n := len(f.outputs); n == 0 || f.outputs[n-1].Name != name { // does not continue the last output
		o := f.next(cellhold.EventStream, 0)
		o.Name, o.text = name, f.text.begin()
	}
	f.dropped += f.text.write(strings.ToValidUTF8(text, "\ufffd"))
	f.makeSpace(0, 0)
}

func (f *Folder) addDisplay(t cellhold.EventType, c cellhold.DisplayContent) {
	f.applyClear()
	u, id := cleaned(c), displayID(c)
	f.bytes += u.size()
	if id != "" && !f.update(id, u) { // a display that is shown again also updates its earlier output
		id = ""
	}
	o := f.next(t, u.size())
	if o == nil {
		return
	}
	o.Data, o.Metadata, o.DisplayID = u.Data, u.Metadata, id
	if t == cellhold.EventExecuteResult {
		o.ExecutionCount = max(c.ExecutionCount, 0)
	}
	if id != "" {
		f.shown[id]++
	}
}

func (f *Folder) addUpdate(c cellhold.DisplayContent) {
	u, id := cleaned(c), displayID(c)
	f.bytes += u.size()
	if id != "" {
		f.update(id, u)
	}
}

// update changes the displays with the id, and keeps the update for other cells. If there is no space for the
// update, it changes nothing and returns false.
func (f *Folder) update(id string, u Update) bool {
	u.DisplayID = id
	old, known := f.updates[id]
	more := u.size() - old.size()
	here := more * int64(f.shown[id])
	full := here > 0 && f.data+here > f.space()-f.text.reserve()
	if !known && len(f.updates) >= f.bounds.Outputs || f.updateBytes+more > f.bounds.Data || full {
		f.dropped += u.size()
		return false
	}
	f.updates[id] = u
	f.updateBytes += more
	f.data += here
	return true
}

func (f *Folder) addClear(c cellhold.ClearOutputContent) {
	if c.Wait {
		f.clearNext = true
		return
	}
	f.clear()
}

// addDropped adds a line to the output at the position where output is missing.
func (f *Folder) addDropped(c cellhold.OutputDroppedContent) {
	n := max(c.Bytes, 0)
	f.stream("stderr", leftOut(n))
	f.bytes += n
	f.dropped += n
}

// leftOut returns the line that replaces missing text.
func leftOut(n int64) string { return fmt.Sprintf("… %d bytes left out …\n", n) }

// Bounds of an error, each far above the size of real errors in Python.
const (
	maxErrorName  = 1 << 10
	maxErrorValue = 64 << 10
	maxTraceback  = 256 << 10
)

func (f *Folder) addError(c cellhold.ErrorContent) {
	f.applyClear()
	e := cellhold.Output{
		Type:       cellhold.EventError,
		ErrorName:  f.shorten(c.Name, maxErrorName),
		ErrorValue: new(f.shorten(c.Value, maxErrorValue)),
		Traceback:  f.shortenAll(c.Traceback, maxTraceback),
	}
	size := outputs.TextSize(e.ErrorName) + outputs.TextSize(*e.ErrorValue)
	for _, entry := range e.Traceback {
		size += outputs.TextSize(entry) + len(`"",`)
	}
	for _, entry := range c.Traceback {
		f.bytes += int64(len(entry))
	}
	f.bytes += int64(len(c.Name) + len(c.Value))
	if o := f.next(e.Type, int64(size)); o != nil {
		o.Output = e
	}
}

// shortenAll keeps the first and the last entries of a traceback. An entry between them says how much is
// missing.
func (f *Folder) shortenAll(list []string, n int) []string {
	const entry = 16 // memory of an empty entry
	kept := make([]string, 0, min(len(list), n/entry+1))
	tail, space := len(list), n
	size := func(i int) int { return min(len(list[i]), n/2) + entry }
	for ; tail > 0 && space-size(tail-1) >= n/3; tail-- {
		space -= size(tail - 1)
	}
	head := 0
	for ; head < tail && space >= size(head); head++ {
		space -= size(head)
		kept = append(kept, f.shorten(list[head], n/2))
	}
	if head < tail {
		missing := int64(0)
		for _, s := range list[head:tail] {
			missing += int64(len(s))
		}
		f.dropped += missing
		kept = append(kept, leftOut(missing))
	}
	for _, s := range list[tail:] {
		kept = append(kept, f.shorten(s, n/2))
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
	if c.Transient == nil || outputs.TextSize(c.Transient.DisplayID) > maxDisplayID {
		return ""
	}
	return c.Transient.DisplayID
}

// bundleSize returns the bytes of the keys and the values as JSON, without the characters between them.
func bundleSize(m map[string]json.RawMessage) (n int64) {
	for key, value := range m {
		n += int64(outputs.TextSize(key) + len(value))
	}
	return n
}
