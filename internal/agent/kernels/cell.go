package kernels

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// cellID is the pattern of ids, which are written into events without escapes.
var cellID = regexp.MustCompile(`^[A-Za-z0-9]{1,40}$`)

// cell is the running cell of a kernel. Kernel.mu guards it.
type cell struct {
	id      cellhold.CellID
	msgID   string
	header  json.RawMessage // of the client's request; nil for all other cells
	silent  bool            // it has no execution count and no execute_input
	timeout time.Duration
	process *process

	admitted    time.Time // when the kernel got it; its deadline counts from here
	started     bool      // cell_started has been reported
	count       int
	reply       *executeReply // the first one
	idle        bool
	interrupted bool // the host asked for it
	expired     bool // the deadline has passed
	ending      bool // its end is being reported; nothing else can end it

	unanswered int   // interrupts that the kernel has not answered yet
	stdin      bool  // the code may ask for input
	asked      int64 // number of the event that asks for input; 0 when none waits

	// quiet receives the result of a cell that runs code of the agent. Such a cell has no id and no events,
	// and its processor time and its files are not reported. quiet is nil for all other cells.
	quiet chan cellhold.CellDoneContent

	mark           int64 // position in the log of written files at its start
	meter          meter
	readingEffects bool    // a call of conclude reads its effects; other calls leave the cell to that call
	effects        effects // as of the last read

	timers []*time.Timer
}

// executeReply has the used fields of an execute_reply. User code can forge it.
type executeReply struct {
	Status string `json:"status"`
	Count  int    `json:"execution_count"`
	Name   string `json:"ename"`
	Value  string `json:"evalue"`
}

// after calls f when the time has passed and the cell is still running. The caller must hold mu.
func (k *Kernel) after(c *cell, d time.Duration, f func()) {
	c.timers = append(c.timers, time.AfterFunc(d, func() {
		k.mu.Lock()
		running := k.cell == c && !c.ending
		k.mu.Unlock()
		if running {
			f()
		}
	}))
}

// Execute submits a cell to the kernel and returns true. If the same cell was submitted before, Execute does
// nothing and returns false.
func (k *Kernel) Execute(r guestapi.Execute) (fresh bool, err error) {
	if err := checkExecute(r); err != nil {
		return false, err
	}
	msgID, err := checkRequest(r.Request)
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	c, err := k.admit(r, msgID)
	if c == nil || err != nil {
		return false, err
	}
	// The kernel gets the request as early as possible. Its answers wait for the lock.
	err = k.sendQuiet(c.process, r.Before)
	if err == nil {
		_, err = c.process.client.Execute(executeRequest(c, r))
	}
	if errors.Is(err, jupyter.ErrFull) {
		return false, fullError(err)
	}
	if err == nil {
		err = k.sendQuiet(c.process, r.After)
	}
	if err != nil {
		// The kernel is ending, or its code broke the connection. The cell counts as accepted, because the end
		// of the process will end it.
		k.log.Debug("cell not sent", "cell", c.id, "error", err)
	}
	k.begin(c)
	return true, nil
}

func checkExecute(r guestapi.Execute) error {
	switch {
	case !cellID.MatchString(string(r.Cell)):
		return cellhold.Errorf(cellhold.Invalid, "The cell id %.50q is not valid: a cell id has 1 to 40 letters or digits.", string(r.Cell))
	case r.Timeout <= 0:
		return cellhold.Errorf(cellhold.Invalid, "The timeout of the cell is %s; it must be positive.", r.Timeout)
	case len(r.Code) > guestapi.MaxCode:
		return cellhold.Errorf(cellhold.Exhausted, "The code has %d bytes; the limit is %d bytes.", len(r.Code), guestapi.MaxCode)
	case len(r.Before)+len(r.After) > guestapi.MaxCode:
		return cellhold.Errorf(cellhold.Exhausted, "The code before and after the cell has %d bytes; the limit is %d bytes.", len(r.Before)+len(r.After), guestapi.MaxCode)
	}
	return nil
}

// admit returns the cell if the kernel can run it now. It returns nil if the cell was admitted before. If msgID is
// empty, the cell gets an id of the agent. The caller must hold mu.
func (k *Kernel) admit(r guestapi.Execute, msgID string) (*cell, error) {
	if k.recent.has(r.Cell) {
		return nil, nil
	}
	if err := k.options.CheckStart(); err != nil {
		return nil, err
	}
	if err := k.checkFree(); err != nil {
		return nil, err
	}
	if msgID == "" {
		msgID = k.process.client.NewMsgID()
	} else if k.used(msgID) {
		return nil, cellhold.Errorf(cellhold.Invalid, "The message id %.50q was used before. Send the code with another id.", msgID)
	}
	c := &cell{id: r.Cell, msgID: msgID, timeout: r.Timeout, process: k.process, mark: k.mark(), stdin: r.AllowStdin, admitted: time.Now()}
	if r.Request != nil {
		c.header, c.silent = r.Request.Header, r.Request.Silent
	}
	return c, nil
}

// begin makes a cell the running one, and starts its deadline. The caller must hold mu.
func (k *Kernel) begin(c *cell) {
	k.cell = c
	k.recent.add(c.id, c.msgID)
	c.meter.begin(c.process.proc)
	k.after(c, c.timeout, func() { k.expire(c) })
	k.watchChildren(c)
}

// message handles every message of the kernel process, on one goroutine per channel, or one for all channels
// of a stream.
func (p *process) message(m jupyter.Message) {
	k := p.kernel
	p.publish(m)
	switch {
	case m.Channel == jupyter.IOPub && isOutput(m.Header.MsgType):
		id, events := k.ownerOf(p, m.Parent.MsgID)
		if events == nil || id != "" && p.output(events, id, m) != nil {
			k.countStrange(m)
		}
	case m.Channel == jupyter.IOPub:
		k.progress(p, m)
	case m.Channel == jupyter.Shell && m.Header.MsgType == "execute_reply":
		k.reply(p, m)
	case m.Channel == jupyter.Control && m.Header.MsgType == "interrupt_reply" && !k.isRaw(m.Parent.MsgID):
		k.interruptDone(p)
	case m.Channel == jupyter.Stdin && m.Header.MsgType == "input_request":
		k.ask(p, m)
	}
}

// output puts an output into the spool. While the spool is full, it blocks, and the agent reads no more output
// of the kernel. Unread output stays in the kernel, whose code must wait when there is too much of it.
func (p *process) output(events *spool.Spool, cell cellhold.CellID, m jupyter.Message) (err error) {
	p.await(func(patience spool.Patience) { err = output(events, string(cell), m, patience) })
	p.lastOutput.Store(time.Now().UnixNano())
	return err
}

// await calls f, which can wait for space in the spool.
func (p *process) await(f func(spool.Patience)) {
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	f(spool.Patience{For: p.kernel.options.Timing.Host, Stop: p.proc.Done()})
}

// outputComes reports whether output arrived within that time or waits for space in the spool.
func (p *process) outputComes(within time.Duration) bool {
	return p.waiting.Load() > 0 || time.Since(time.Unix(0, p.lastOutput.Load())) < within
}

// ownerOf finds the running or ended cell that a message belongs to, and reports that it started. The id is
// empty for code of the agent, and for messages of wires. The spool is nil if the message belongs to no cell.
func (k *Kernel) ownerOf(p *process, msgID string) (cellhold.CellID, *spool.Spool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process != p {
		return "", nil
	}
	if c := k.cell; c != nil && c.msgID == msgID {
		k.markStarted(c)
	}
	if id, ok := k.recent.byMessage(msgID); ok {
		return id, k.spool
	}
	if _, ok := k.raw.byMessage(msgID); ok {
		return "", k.spool
	}
	return "", nil
}

// countStrange counts a message that was dropped, because it belongs to no request or is not valid. User code can
// send any number of them.
func (k *Kernel) countStrange(m jupyter.Message) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process != nil && k.process.client == nil {
		return // output of the startup code
	}
	k.strange++
	k.log.Debug("message dropped", "type", Sentence(m.Header.MsgType), "count", k.strange)
}

// markStarted reports that the cell has started, with the time at which the kernel got it. On a loaded
// machine the kernel's own report arrives much later, and the deadline does not wait for that report.
func (k *Kernel) markStarted(c *cell) {
	if !c.started && c.quiet == nil {
		c.started = true
		k.spool.Note(string(c.id), cellhold.EventCellStarted, c.admitted, cellhold.CellStartedContent{ExecutionCount: c.count})
	}
}

// progress records the status and the execution count of the running cell.
func (k *Kernel) progress(p *process, m jupyter.Message) {
	isStatus := m.Header.MsgType == "status"
	if !isStatus && m.Header.MsgType != "execute_input" {
		return
	}
	content, err := readProgress(m.Content)
	if err != nil {
		return
	}
	k.mu.Lock()
	c := k.current(p, m)
	if c == nil {
		k.mu.Unlock()
		return
	}
	if !isStatus {
		if c.count == 0 { // a second number is forged
			c.count = max(content.Count, 0)
		}
		k.markStarted(c)
	} else if content.State == "idle" {
		c.idle = true
	} else if c.silent { // no execute_input follows
		k.markStarted(c)
	}
	k.conclude(c)
}

// progressContent has the used fields of a status and of an execute_input.
type progressContent struct {
	State string `json:"execution_state"`
	Count int    `json:"execution_count"`
}

func readProgress(content []byte) (c progressContent, err error) {
	switch string(content) { // as ipykernel writes them, twice in each cell
	case `{"execution_state": "busy"}`:
		c.State = "busy"
	case `{"execution_state": "idle"}`:
		c.State = "idle"
	default:
		err = json.Unmarshal(content, &c)
	}
	return c, err
}

// reply records the first answer to the running cell, and ignores later ones.
func (k *Kernel) reply(p *process, m jupyter.Message) {
	var r executeReply
	if err := json.Unmarshal(m.Content, &r); err != nil {
		r = executeReply{}
	}
	k.mu.Lock()
	c := k.current(p, m)
	if c == nil || c.reply != nil {
		k.mu.Unlock()
		return
	}
	c.reply = &r
	if r.Count > 0 && !c.silent {
		c.count = r.Count
	}
	if !c.idle {
		k.after(c, k.options.Timing.Idle, func() { k.endOverdue(c) })
	}
	k.conclude(c)
}

// current returns the running cell if the message answers it. The caller must hold mu.
func (k *Kernel) current(p *process, m jupyter.Message) *cell {
	if c := k.cell; c != nil && k.process == p && !c.ending && c.msgID == m.Parent.MsgID {
		return c
	}
	return nil
}

// endOverdue ends a cell whose idle status was lost: user code can break the kernel's sockets. The status
// comes after all output, so it is not lost while output still arrives.
func (k *Kernel) endOverdue(c *cell) {
	k.mu.Lock()
	if idle := k.options.Timing.Idle; c.process.outputComes(idle) {
		k.after(c, idle, func() { k.endOverdue(c) })
		k.mu.Unlock()
		return
	}
	c.idle = true
	k.conclude(c)
}

// effectsLast is how old the effects of a cell can be when the cell ends. When the kernel answers, the code has
// ended, and the idle status follows within a millisecond. The status follows later if much output must be sent
// or the answer was forged. Then the effects are read again.
const effectsLast = 50 * time.Millisecond

// effects are the changes that a cell made outside its kernel, and its use of the processor.
type effects struct {
	at      time.Time
	changed bool // the output files, at this read or an earlier one
	files   []cellhold.CellFile
	more    bool
	spent   readings
}

// conclude ends the cell if it is answered and the kernel is idle again. It reads the effects of the cell
// as soon as there is an answer, while the kernel still sends the rest. The caller must hold mu; conclude
// releases it, because reading takes time.
func (k *Kernel) conclude(c *cell) {
	defer k.mu.Unlock()
	if k.cell != c || c.ending || c.readingEffects || c.reply == nil || c.unanswered > 0 {
		return
	}
	final := false
	if c.quiet == nil && time.Since(c.effects.at) > effectsLast {
		final = c.idle
		c.ending = final // nothing else can end it during the read
		k.readEffects(c)
	}
	switch {
	case k.cell != c:
		return // the process died during the read, and that ended the cell
	case final:
	case c.ending || !c.idle || c.unanswered > 0:
		return
	}
	d := c.verdict()
	d.FilesChanged, d.Files, d.MoreFiles = c.effects.changed, c.effects.files, c.effects.more
	d.Usage = c.meter.usage(c.effects.spent)
	k.closeCell(c, d)
}

// readEffects stores the effects of the cell. The caller must hold mu, which is released during the read.
func (k *Kernel) readEffects(c *cell) {
	c.readingEffects = true
	now := effects{at: time.Now()}
	longer := c.meter.longer
	k.mu.Unlock()
	now.spent = read(c.process.proc, longer)
	now.changed = k.options.OutputChanged()
	now.files, now.more = k.wrote(c)
	k.mu.Lock()
	now.changed = now.changed || c.effects.changed
	c.readingEffects, c.effects = false, now
}

// endCell ends the running cell because its process ended. The caller must hold mu.
func (k *Kernel) endCell(c *cell, d cellhold.CellDoneContent) {
	if c.quiet == nil {
		d.FilesChanged = k.options.OutputChanged() || c.effects.changed // a change is reported once
		d.Files, d.MoreFiles = k.wrote(c)
	}
	k.closeCell(c, d)
}

// closeCell reports the end of the running cell. The caller must hold mu.
func (k *Kernel) closeCell(c *cell, d cellhold.CellDoneContent) {
	k.markStarted(c)
	for _, t := range c.timers {
		t.Stop()
	}
	if c.quiet != nil {
		k.cell = nil
		c.quiet <- d // does not block: the channel has a buffer
		return
	}
	d.ExecutionCount = c.count
	k.spool.Settle(string(c.id))
	k.spool.Keep(string(c.id), cellhold.EventCellDone, d)
	k.cell = nil
}

// verdict returns how the cell ended, from the kernel's answer and the agent's own actions.
func (c *cell) verdict() cellhold.CellDoneContent {
	d := cellhold.CellDoneContent{Status: cellhold.StatusError}
	switch {
	case c.expired:
		d.Status = cellhold.StatusTimeout
		d.Cause = fmt.Sprintf("The cell was stopped at its deadline of %s; the variables are kept.", c.timeout)
	case c.reply.Status == "ok":
		d.Status = cellhold.StatusOK
	case c.reply.Status != "ok" && c.interrupted: // Bash answers "abort" after an interrupt
		d.Status = cellhold.StatusInterrupted
	case c.reply.Status == "error" && c.quiet != nil:
		d.Cause = c.reply.exception()
	case c.reply.Status == "error":
	case c.reply.Status == "aborted" || c.reply.Status == "abort":
		d.Status, d.Cause = cellhold.StatusCancelled, "The kernel refused to run the cell."
	default:
		d.Cause = "The kernel's answer could not be read."
	}
	return d
}
