package agent

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// cellID keeps an id from being anything but a name: it is written into events as it is.
var cellID = regexp.MustCompile(`^[A-Za-z0-9]{1,40}$`)

// cell is the running cell of a kernel. kernel.mu guards it.
type cell struct {
	id      cellhold.CellID
	msgID   string
	timeout time.Duration
	life    *life

	admitted    time.Time // when the kernel, which was free, got it; its deadline counts from here
	started     bool      // cell_started has been reported
	count       int
	reply       *executeReply // the first one
	idle        bool
	interrupted bool // the host asked for it
	expired     bool // the deadline has passed
	ending      bool // its end is being reported; nothing may end it again

	unanswered int   // interrupts that the kernel has not dealt with yet
	stdin      bool  // the code may ask for input
	asked      int64 // number of the event that asks for input; 0 when nothing is asked

	// quiet gets how the cell ended, when it is one that nobody else hears of: it has no id, no events, and
	// no part in what cells use and write. Nil for all others.
	quiet chan cellhold.CellDoneContent

	mark    int64 // of the files that were written before it
	meter   meter
	looking bool // at what it left; who looks concludes it
	left    left // as of the last look

	timers []*time.Timer
}

// executeReply is what we need of an execute_reply. User code can forge it.
type executeReply struct {
	Status string `json:"status"`
	Count  int    `json:"execution_count"`
	Name   string `json:"ename"`
	Value  string `json:"evalue"`
}

// after calls f when the time has passed and the cell is still running. The caller holds mu.
func (k *kernel) after(c *cell, d time.Duration, f func()) {
	c.timers = append(c.timers, time.AfterFunc(d, func() {
		k.mu.Lock()
		running := k.cell == c && !c.ending
		k.mu.Unlock()
		if running {
			f()
		}
	}))
}

// execute hands a cell to the kernel. The same cell again is no error and does nothing.
func (k *kernel) execute(r guestapi.Execute) (fresh bool, err error) {
	if err := checkExecute(r); err != nil {
		return false, err
	}
	c, err := k.admit(r)
	if c == nil || err != nil {
		return false, err
	}
	// Sent without the lock: a kernel that does not read would stop everything else with it.
	_, err = c.life.client.Execute(jupyter.ExecuteRequest{MsgID: c.msgID, Code: r.Code, StoreHistory: true,
		AllowStdin: r.AllowStdin, Metadata: metadata(r)})
	if err != nil {
		// The kernel is ending, or its code broke the connection. The end of the process ends
		// the cell, so the cell was accepted all the same.
		k.log.Debug("cell not sent", "cell", c.id, "error", err)
	}
	return true, nil
}

// metadata is what goes to the kernel beside the code. Jupyter leaves it to those who know it; what
// ours means is told by the image's cellhold_figures.
func metadata(r guestapi.Execute) json.RawMessage {
	if r.Figures == nil {
		return nil
	}
	return marshal(map[string]any{"cellhold": map[string]any{"figures": r.Figures}})
}

func checkExecute(r guestapi.Execute) error {
	switch {
	case !cellID.MatchString(string(r.Cell)):
		return cellhold.Errorf(cellhold.Invalid, "A cell id is 1 to 40 letters or digits.")
	case r.Timeout <= 0:
		return cellhold.Errorf(cellhold.Invalid, "The timeout of a cell must be positive.")
	case len(r.Code) > guestapi.MaxCode:
		return cellhold.Errorf(cellhold.Exhausted, "The code has %d bytes; a cell may have %d.", len(r.Code), guestapi.MaxCode)
	}
	return nil
}

// admit makes the cell the running one, and starts its deadline. It returns nil if the cell has
// been here before.
func (k *kernel) admit(r guestapi.Execute) (*cell, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.recent.has(r.Cell):
		return nil, nil
	case k.agent.renewing.Load():
		return nil, errRenewing
	}
	if err := k.free(); err != nil {
		return nil, err
	}
	c := &cell{id: r.Cell, msgID: k.life.client.NewMsgID(), timeout: r.Timeout, life: k.life, mark: k.agent.mark(), stdin: r.AllowStdin, admitted: time.Now()}
	k.cell = c
	k.recent.add(c.id, c.msgID)
	c.meter.begin(c.life.proc)
	k.after(c, c.timeout, func() { k.expire(c) })
	k.watchChildren(c)
	return c, nil
}

// message gets everything that the kernel process says, on one goroutine a channel.
func (l *life) message(m jupyter.Message) {
	k := l.kernel
	switch {
	case m.Channel == jupyter.IOPub && isOutput(m.Header.MsgType):
		id, events := k.ownerOf(l, m.Parent.MsgID)
		if events == nil || id != "" && l.output(events, id, m) != nil {
			k.stranger(m)
		}
	case m.Channel == jupyter.IOPub:
		k.progress(l, m)
	case m.Channel == jupyter.Shell && m.Header.MsgType == "execute_reply":
		k.reply(l, m)
	case m.Channel == jupyter.Control && m.Header.MsgType == "interrupt_reply":
		k.interruptDone(l)
	case m.Channel == jupyter.Stdin && m.Header.MsgType == "input_request":
		k.ask(l, m)
	}
}

// output puts an output into the spool. It keeps the kernel's output waiting while the host is behind:
// what is not read here, the kernel keeps, and waits itself when it has too much.
func (l *life) output(events *spool.Spool, cell cellhold.CellID, m jupyter.Message) error {
	l.waiting.Store(true)
	defer l.waiting.Store(false)
	err := output(events, string(cell), m, spool.Patience{For: l.kernel.agent.options.Timing.Host, Stop: l.proc.Done()})
	l.heard.Store(time.Now().UnixNano())
	return err
}

// flows reports whether output has come within that time or waits to be taken.
func (l *life) flows(within time.Duration) bool {
	return l.waiting.Load() || time.Since(time.Unix(0, l.heard.Load())) < within
}

// ownerOf finds the cell that a message belongs to, running or over, and reports it started. There is no
// id when that is a cell that nobody hears of, and no place for events when there is none.
func (k *kernel) ownerOf(l *life, msgID string) (cellhold.CellID, *spool.Spool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life != l {
		return "", nil
	}
	if c := k.cell; c != nil && c.msgID == msgID {
		k.markStarted(c)
	}
	if id, ok := k.recent.byMessage(msgID); ok {
		return id, k.spool
	}
	return "", nil
}

// stranger counts a message that makes no sense here. User code can send as many as it likes.
func (k *kernel) stranger(m jupyter.Message) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life != nil && k.life.client == nil {
		return // output of the startup code
	}
	k.strange++
	k.log.Debug("message dropped", "type", sentence(m.Header.MsgType), "count", k.strange)
}

// markStarted reports that the cell has started, with the time at which the kernel got it. A loaded machine
// hears the kernel's own word much later, and the deadline does not wait for that word.
func (k *kernel) markStarted(c *cell) {
	if !c.started && c.quiet == nil {
		c.started = true
		k.spool.Note(string(c.id), cellhold.EventCellStarted, c.admitted, cellhold.CellStartedContent{ExecutionCount: c.count})
	}
}

// progress notes how far the running cell is.
func (k *kernel) progress(l *life, m jupyter.Message) {
	var content struct {
		State string `json:"execution_state"`
		Count int    `json:"execution_count"`
	}
	isStatus := m.Header.MsgType == "status"
	if !isStatus && m.Header.MsgType != "execute_input" || json.Unmarshal(m.Content, &content) != nil {
		return
	}
	k.mu.Lock()
	c := k.current(l, m)
	if c == nil {
		k.mu.Unlock()
		return
	}
	if !isStatus {
		if c.count == 0 { // a second one is forged
			c.count = max(content.Count, 0)
		}
		k.markStarted(c)
	} else if content.State == "idle" {
		c.idle = true
	}
	k.conclude(c)
}

// reply notes the answer to the running cell; a second one is not looked at.
func (k *kernel) reply(l *life, m jupyter.Message) {
	var r executeReply
	if err := json.Unmarshal(m.Content, &r); err != nil {
		r = executeReply{}
	}
	k.mu.Lock()
	c := k.current(l, m)
	if c == nil || c.reply != nil {
		k.mu.Unlock()
		return
	}
	c.reply = &r
	if r.Count > 0 {
		c.count = r.Count
	}
	if !c.idle {
		k.after(c, k.agent.options.Timing.Idle, func() { k.overdue(c) })
	}
	k.conclude(c)
}

// current returns the running cell if the message answers it. The caller holds mu.
func (k *kernel) current(l *life, m jupyter.Message) *cell {
	if c := k.cell; c != nil && k.life == l && !c.ending && c.msgID == m.Parent.MsgID {
		return c
	}
	return nil
}

// overdue ends a cell whose idle status was lost: code can take the kernel's sockets apart. The
// status comes after all output, so as long as output comes it is not lost.
func (k *kernel) overdue(c *cell) {
	k.mu.Lock()
	if idle := k.agent.options.Timing.Idle; c.life.flows(idle) {
		k.after(c, idle, func() { k.overdue(c) })
		k.mu.Unlock()
		return
	}
	c.idle = true
	k.conclude(c)
}

// lookLasts is how old a look at what a cell left may be when the cell ends. The code is over with its
// answer, and the idle status comes within a millisecond, unless there is much output to be sent or
// the answer was forged: then it is looked at again.
const lookLasts = 50 * time.Millisecond

// left is what a cell has left behind.
type left struct {
	at      time.Time
	changed bool // the output files, at this look or an earlier one
	files   []cellhold.CellFile
	more    bool
	spent   readings
}

// conclude ends the cell if it has been answered and the kernel is idle again. It looks at what the
// cell left as soon as there is an answer, while the kernel still sends the rest. The caller holds mu;
// conclude lets go of it, because looking at files takes time.
func (k *kernel) conclude(c *cell) {
	defer k.mu.Unlock()
	if k.cell != c || c.ending || c.looking || c.reply == nil || c.unanswered > 0 {
		return
	}
	final := false
	if c.quiet == nil && time.Since(c.left.at) > lookLasts {
		final = c.idle
		c.ending = final // nothing else may end it while we look
		k.look(c)
	}
	switch {
	case k.cell != c:
		return // the process died meanwhile, and that ended the cell
	case final:
	case c.ending || !c.idle || c.unanswered > 0:
		return
	}
	d := c.verdict()
	d.FilesChanged, d.Files, d.MoreFiles = c.left.changed, c.left.files, c.left.more
	d.Usage = c.meter.usage(c.left.spent)
	k.closeCell(c, d)
}

// look notes what the cell has left. The caller holds mu, which is let go of meanwhile.
func (k *kernel) look(c *cell) {
	c.looking = true
	now := left{at: time.Now()}
	longer := c.meter.longer
	k.mu.Unlock()
	now.spent = read(c.life.proc, longer)
	now.changed = k.agent.files.changed()
	now.files, now.more = k.agent.wrote(c)
	k.mu.Lock()
	now.changed = now.changed || c.left.changed
	c.looking, c.left = false, now
}

// endCell ends the running cell for a reason outside it. The caller holds mu.
func (k *kernel) endCell(c *cell, d cellhold.CellDoneContent) {
	if c.quiet == nil {
		d.FilesChanged = k.agent.files.changed() || c.left.changed // a change is told once
		d.Files, d.MoreFiles = k.agent.wrote(c)
	}
	k.closeCell(c, d)
}

// closeCell reports the end of the running cell. The caller holds mu.
func (k *kernel) closeCell(c *cell, d cellhold.CellDoneContent) {
	k.markStarted(c)
	for _, t := range c.timers {
		t.Stop()
	}
	if c.quiet != nil {
		k.cell = nil
		c.quiet <- d // it has room
		return
	}
	d.ExecutionCount = c.count
	k.spool.Settle(string(c.id))
	k.spool.Keep(string(c.id), cellhold.EventCellDone, d)
	k.cell = nil
}

// verdict says how the cell ended, from the kernel's answer and what we did to it.
func (c *cell) verdict() cellhold.CellDoneContent {
	d := cellhold.CellDoneContent{Status: cellhold.StatusError}
	switch {
	case c.expired:
		d.Status = cellhold.StatusTimeout
		d.Cause = fmt.Sprintf("It was stopped at its deadline of %s; the variables are kept.", c.timeout)
	case c.reply.Status == "ok":
		d.Status = cellhold.StatusOK
	case c.reply.Status != "ok" && c.interrupted: // Bash says abort then
		d.Status = cellhold.StatusInterrupted
	case c.reply.Status == "error" && c.quiet != nil:
		d.Cause = c.reply.exception()
	case c.reply.Status == "error":
	case c.reply.Status == "aborted" || c.reply.Status == "abort":
		d.Status, d.Cause = cellhold.StatusCancelled, "The kernel refused to run it."
	default:
		d.Cause = "The kernel's answer could not be read."
	}
	return d
}
