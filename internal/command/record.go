package command

import (
	"context"
	"errors"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/pause"
	"cellhold/internal/record"
)

// Run reads and records events until the context ends. The commands themselves keep running. The pause before a
// reconnection grows until a connection lasts, so that a hostile agent cannot keep the server busy. If the agent broke the
// protocol, a retry would get the same data, so Run reports this and ends.
func (r *Runner) Run(ctx context.Context) {
	wait := retryFirst
	for ctx.Err() == nil {
		r.mu.Lock()
		after := r.cursor
		r.mu.Unlock()
		begun := time.Now()
		for g, err := range r.o.Link.Events(ctx, after) {
			if errors.Is(err, guestapi.ErrForm) {
				r.o.Logger.Error("read events of commands", "after", after, "err", err)
				r.setDown(true)
				r.o.Stuck(guestapi.ErrForm.Error())
				return
			}
			if err != nil {
				r.o.Logger.Debug("read events of commands", "after", after, "err", err)
				break
			}
			r.setDown(false)
			if !r.persist(ctx, g) {
				break
			}
		}
		r.setDown(true)
		if time.Since(begun) > retryMost {
			wait = retryFirst
		}
		if !pause.For(ctx, wait) {
			return
		}
		wait = min(2*wait, retryMost)
	}
}

// persist records one event, and tries again while the journal fails. No event is lost, because the agent
// keeps it until it is acknowledged. It returns false if the context ended first.
func (r *Runner) persist(ctx context.Context, g guestapi.Event) bool {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		err := r.keep(ctx, g)
		if err == nil {
			r.ack(ctx, g.Type == cellhold.EventCommandDone)
			return true
		}
		if ctx.Err() == nil {
			r.o.Logger.Error("record an event", "command", g.Command, "err", err)
		}
		if !pause.For(ctx, wait) {
			return false
		}
	}
}

// setDown records whether the link is broken. Die waits for a broken link, because then no more events come.
func (r *Runner) setDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != down {
		r.down = down
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// keep records one event of the agent and applies it.
func (r *Runner) keep(ctx context.Context, g guestapi.Event) error {
	r.rec.Lock()
	defer r.rec.Unlock()
	kept := r.o.Log.Kept()
	r.mu.Lock()
	e := r.running[g.Command]
	replayed := g.Seq <= r.cursor
	// After the first drop, all output of the command is dropped, so that there is one gap.
	space := e != nil && e.lost.Messages == 0 && kept+int64(len(g.Content))+eventCost <= r.o.SessionOutput &&
		e.kept+int64(len(g.Content))+eventCost <= r.o.Output
	r.mu.Unlock()
	var err error
	switch {
	case replayed:
		return nil
	case e == nil: // the server ended the command itself, or does not know it
	case g.Type == cellhold.EventCommandDone:
		return r.finish(ctx, e, g)
	case space:
		ev := record.Event{Event: cellhold.Event{Time: g.Time, Command: g.Command, Type: g.Type, Content: g.Content}, Boot: r.o.Boot, Source: g.Seq}
		err = r.append(ctx, []record.Event{ev}, func() {})
	}
	if err == nil {
		r.apply(e, g, space)
	}
	return err
}

// apply updates the command from a recorded event.
func (r *Runner) apply(e *entry, g guestapi.Event, space bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cursor = g.Seq
	r.unacked += int64(len(g.Content)) + eventCost
	if e == nil {
		return
	}
	if !space {
		e.lose(g)
		return
	}
	e.fold(g.Type, g.Content)
	e.kept += int64(len(g.Content)) + eventCost
}

// lose counts an event without space. The agent's own reports of dropped output are also only counted, because a
// hostile agent could send any number of reports.
func (e *entry) lose(g guestapi.Event) {
	var lost cellhold.OutputDroppedContent
	if g.Type == cellhold.EventOutputDropped {
		_ = (cellhold.Event{Type: g.Type, Content: g.Content}).Decode(&lost) // cannot fail: the content was checked when it was received
	} else {
		lost.Bytes = e.fold(g.Type, g.Content)
	}
	e.lost.Bytes += lost.Bytes
	e.lost.Messages += max(lost.Messages, 1)
}

// fold adds an event to the output of its command, and returns the number of bytes that the command wrote.
func (e *entry) fold(t cellhold.EventType, content []byte) int64 {
	ev := cellhold.Event{Type: t, Content: content}
	switch t {
	case cellhold.EventStream:
		var c cellhold.StreamContent
		if ev.Decode(&c) != nil {
			return 0
		}
		b := c.Data
		if b == nil {
			b = []byte(c.Text)
		}
		if c.Name == "stderr" {
			e.stderr.add(b)
		} else {
			e.stdout.add(b)
		}
		return int64(len(b))
	case cellhold.EventOutputDropped:
		var c cellhold.OutputDroppedContent
		if ev.Decode(&c) == nil {
			e.command.Dropped += c.Bytes
		}
	}
	return 0
}

// finish records the end of a command as the agent reports it. The caller must hold rec.
func (r *Runner) finish(ctx context.Context, e *entry, g guestapi.Event) error {
	var d cellhold.CommandDoneContent
	if err := (cellhold.Event{Type: g.Type, Content: g.Content}).Decode(&d); err != nil {
		d = cellhold.CommandDoneContent{Status: cellhold.CommandLost, Cause: "The end of the command could not be read."}
	}
	if d.Status == cellhold.CommandSignal && d.Signal == "KILL" && r.oomKills(ctx) > e.oom {
		d.Status, d.Cause = cellhold.CommandOOM, "The command was killed because the session exceeded its memory limit."
	}
	end := newEvent(cellhold.EventCommandDone, g.Command, d)
	end.Time, end.Boot, end.Source = g.Time, r.o.Boot, g.Seq
	if err := r.endAs(ctx, map[*entry]cellhold.CommandDoneContent{e: d}, end); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cursor = g.Seq
	return nil
}

// endAs records the ends of commands, with their last events, and wakes their waiters. A command is no longer running
// when the log shows its last event: otherwise a reader that begins after this event would wait for it. The caller must
// hold rec.
func (r *Runner) endAs(ctx context.Context, dones map[*entry]cellhold.CommandDoneContent, ends ...record.Event) error {
	var evs []record.Event
	var commands []*record.Command
	entries := map[cellhold.CommandID]*entry{}
	r.mu.Lock()
	for e, d := range dones {
		c := e.snapshot()
		c.State, c.Status, c.Code, c.Signal, c.Cause, c.Ended = cellhold.CommandDone, d.Status, d.Code, d.Signal, d.Cause, time.Now().UTC()
		commands, entries[c.ID] = append(commands, &c), e
	}
	for _, end := range ends {
		if lost := entries[end.Command].lost; lost.Messages > 0 {
			evs = append(evs, newEvent(cellhold.EventOutputDropped, end.Command, lost))
		}
		evs = append(evs, end)
	}
	r.mu.Unlock()
	if err := r.append(ctx, evs, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range commands {
			e := entries[c.ID]
			e.command = *c
			delete(r.running, c.ID)
		}
	}, commands...); err != nil {
		return err
	}
	if r.o.Done != nil {
		r.o.Done() // called first, so that waiters find the session up to date
	}
	for _, e := range entries {
		close(e.done)
	}
	return nil
}

// append records events and the commands that they changed. It calls recorded before the log shows the events.
func (r *Runner) append(ctx context.Context, evs []record.Event, recorded func(), commands ...*record.Command) error {
	return r.o.Log.AppendWith(ctx, evs, func(ctx context.Context, evs []record.Event) error {
		records := make([]record.Command, 0, len(commands))
		for _, c := range commands {
			for _, ev := range evs {
				if ev.Command != c.ID {
					continue
				}
				if c.First == 0 {
					c.First = ev.Seq
				}
				if c.State == cellhold.CommandDone {
					c.Last = ev.Seq
				}
			}
			records = append(records, *c)
		}
		err := r.o.Journal.AppendCommands(ctx, r.o.Session, evs, records...)
		if err == nil {
			recorded()
		}
		return err
	})
}

// ack lets the agent forget events, if there are enough of them or a command has ended. A failure is harmless: the
// next call acknowledges the same events.
func (r *Runner) ack(ctx context.Context, now bool) {
	r.mu.Lock()
	due, cursor := now || r.unacked >= ackEvery, r.cursor
	if due {
		r.unacked = 0
	}
	r.mu.Unlock()
	if !due {
		return
	}
	if err := r.o.Link.Ack(ctx, cursor); err != nil {
		r.o.Logger.Debug("acknowledge events of commands", "err", err)
	}
}

// Die ends all commands because the sandbox has ended. No command starts afterwards. If Die fails, it can
// be called again.
func (r *Runner) Die(ctx context.Context, s cellhold.CommandStatus, why string) error {
	drain, cancel := context.WithTimeout(ctx, drainWait)
	r.waitDown(drain)
	cancel()
	r.mu.Lock()
	r.gone = true
	ids := make([]cellhold.CommandID, 0, len(r.running))
	for id := range r.running {
		ids = append(ids, id)
	}
	r.mu.Unlock()
	return r.endAll(ctx, ids, s, why)
}

// waitDown waits until the link is broken and the events that were read from it are recorded.
func (r *Runner) waitDown(ctx context.Context) {
	for {
		r.mu.Lock()
		down, changed := r.down || len(r.running) == 0, r.changed
		r.mu.Unlock()
		if down {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// endAll records the ends of commands for a reason that the agent did not report.
func (r *Runner) endAll(ctx context.Context, ids []cellhold.CommandID, s cellhold.CommandStatus, why string) error {
	r.rec.Lock()
	defer r.rec.Unlock()
	d := cellhold.CommandDoneContent{Status: s, Cause: why}
	dones := map[*entry]cellhold.CommandDoneContent{}
	var evs []record.Event
	var unrecorded []*entry
	r.mu.Lock()
	for _, id := range ids {
		switch e := r.running[id]; {
		case e == nil: // has ended already
		case e.command.First == 0: // its start is not recorded, so its end is not recorded either
			delete(r.running, id)
			unrecorded = append(unrecorded, e)
		default:
			dones[e] = d
			evs = append(evs, newEvent(cellhold.EventCommandDone, id, d))
		}
	}
	r.mu.Unlock()
	for _, e := range unrecorded {
		close(e.done)
	}
	if len(dones) == 0 {
		return nil
	}
	return r.endAs(ctx, dones, evs...)
}

// Release ends the waits for commands whose end could not be recorded. The runner must not be used
// afterwards.
func (r *Runner) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, e := range r.running {
		e.command.State, e.command.Status, e.command.Cause = cellhold.CommandDone, cellhold.CommandLost, "The end of the command could not be recorded."
		delete(r.running, id)
		close(e.done)
	}
}

// recover updates the running commands from the journal.
func (r *Runner) recover(ctx context.Context) error {
	first := int64(0)
	for c, err := range r.o.Journal.Commands(ctx, r.o.Session) {
		if err != nil && c.ID != "" {
			r.o.Logger.Error("read a command", "command", c.ID, "err", err)
			continue
		}
		if err != nil {
			return err
		}
		if c.State == cellhold.CommandDone {
			continue
		}
		r.running[c.ID] = newEntry(c)
		if first == 0 || c.First < first {
			first = c.First
		}
	}
	if len(r.running) == 0 {
		return nil
	}
	for ev, err := range r.o.Journal.Read(ctx, r.o.Session, first-1) {
		if err != nil && ev.Seq > 0 {
			continue // a damaged event
		}
		if err != nil {
			return errors.Join(errors.New("read the events of commands"), err)
		}
		if e := r.running[ev.Command]; e != nil {
			e.fold(ev.Type, ev.Content)
			e.kept += int64(len(ev.Content)) + eventCost
		}
	}
	return nil
}
