package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// maxMessage is how much of one message is read: room for the largest event with all its escapes,
// without letting a kernel make the agent large.
const maxMessage = 2 * guestapi.MaxEvent

// kernel is one kernel over all its lives: each start and restart is a new process.
type kernel struct {
	id     cellhold.KernelID
	agent  *Agent
	log    *slog.Logger
	cancel context.CancelCauseFunc // ends run
	done   chan struct{}           // closed when run has returned
	again  chan struct{}           // capacity 1: wakes run when a dead kernel is wanted back

	mu      sync.Mutex
	request guestapi.StartKernel
	spool   *spool.Spool // another one when the agent has been renewed
	state   cellhold.KernelState
	said    cellhold.KernelStateContent // of state, as it was reported
	wanted  bool                        // a restart was asked for since the last life began
	there   func()                      // tells that a saved kernel goes on; nil from then on, and for all others
	life    *life                       // nil while there is no process
	cell    *cell                       // the running one
	recent  recentCells
	strange int64 // messages that belonged to nothing or made no sense
}

// life is one process of a kernel.
type life struct {
	kernel *kernel
	end    context.CancelCauseFunc
	proc   Process         // fixed before messages come
	client *jupyter.Client // nil until it is ready; guarded by kernel.mu

	waiting atomic.Bool  // its output waits for room in the spool
	heard   atomic.Int64 // when output last came, in nanoseconds
}

func newKernel(a *Agent, id cellhold.KernelID, r guestapi.StartKernel, after int64) *kernel {
	k := &kernel{
		id: id, request: r, agent: a,
		log:   a.options.Logger.With("kernel", id),
		spool: spool.New(a.options.Spool, spool.Cell),
		done:  make(chan struct{}),
		again: make(chan struct{}, 1),
	}
	k.spool.StartAfter(after)
	k.setState(cellhold.KernelStateContent{State: cellhold.KernelStarting})
	return k
}

// setState records and reports what the kernel does. The caller holds mu, or nobody else knows k.
func (k *kernel) setState(s cellhold.KernelStateContent) {
	k.state, k.said = s.State, s
	k.spool.Keep("", cellhold.EventKernelState, s)
}

func (k *kernel) info() guestapi.KernelInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := guestapi.KernelInfo{ID: k.id, State: k.state, Last: k.spool.Last(), Strange: k.strange}
	if k.cell != nil { // one that nobody hears of has no id
		i.Cell = k.cell.id
		if i.State == cellhold.KernelIdle {
			i.State = cellhold.KernelBusy
		}
	}
	return i
}

// events are those that are kept now.
func (k *kernel) events() *spool.Spool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.spool
}

// dead tells whether it is a saved kernel that had ended.
func (k *kernel) dead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state == cellhold.KernelDead
}

// asked is what the host wants of the kernel.
func (k *kernel) asked() guestapi.StartKernel {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.request
}

// run lives one life after the other until the context ends.
func (k *kernel) run(ctx context.Context) {
	defer close(k.done)
	defer func() { k.events().Close() }()
	for wanted := !k.dead(); ; {
		again := wanted && k.bury(k.live(ctx))
		if ctx.Err() != nil {
			return
		}
		wanted = true
		if again {
			continue
		}
		select {
		case <-k.again:
		case <-ctx.Done():
			return
		}
	}
}

// live starts a process, serves it until it ends or must end, and says how that was.
func (k *kernel) live(ctx context.Context) death {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	l := k.begin(end)
	asked := k.asked()
	proc, err := k.agent.options.Launcher.Launch(ctx, LaunchSpec{Kernel: k.id, Spec: asked.Spec, Env: k.agent.Environment(asked.Env)})
	if err != nil {
		return ended(ctx, deadState(cellhold.StatusExit, fmt.Sprintf("The kernel could not be started: %s.", sentence(err.Error()))))
	}
	l.proc = proc
	if err = l.prepare(ctx); err == nil {
		err = l.serve(ctx)
	}
	d := l.autopsy(ctx, err)
	proc.Kill()
	l.drain(ctx)
	return d
}

// begin makes a new life the current one.
func (k *kernel) begin(end context.CancelCauseFunc) *life {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.life = &life{kernel: k, end: end}
	k.wanted = false
	select {
	case <-k.again:
	default:
	}
	return k.life
}

// drain reads what a dead process left in its sockets, and closes them.
func (l *life) drain(ctx context.Context) {
	if l.client == nil {
		return
	}
	wait, cancel := l.kernel.agent.grace(ctx)
	defer cancel()
	select {
	case <-l.client.Done():
	case <-wait.Done():
	}
	l.client.Close()
}

// prepare waits until the kernel is ready and has run its startup code, and reports it idle.
func (l *life) prepare(ctx context.Context) error {
	k := l.kernel
	start, cancel := context.WithTimeoutCause(ctx, k.agent.options.Timing.Start, errors.New("it was not ready in time"))
	defer cancel()
	client, err := jupyter.Dial(start, l.proc.Connection(), jupyter.Options{
		OnMessage:  l.message,
		Dead:       l.proc.Done(),
		MaxMessage: maxMessage,
		Log:        k.log,
	})
	if err != nil {
		return err
	}
	if l.goesOn(client) {
		return nil
	}
	detail, err := l.startup(start, client)
	if err != nil {
		client.Close()
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx.Err() != nil { // a restart was asked for meanwhile, and reported
		client.Close()
		return context.Cause(ctx)
	}
	l.client = client
	k.setState(cellhold.KernelStateContent{State: cellhold.KernelIdle, Detail: detail, Info: kernelInfo(l.proc.Spec(), client.Info())})
	return nil
}

// goesOn makes the process that of a saved kernel, if the life is the first of one: nothing has happened
// that the host should hear of.
func (l *life) goesOn(client *jupyter.Client) bool {
	k := l.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.there == nil {
		return false
	}
	l.client = client
	k.there()
	k.there = nil
	return true
}

// startup runs the startup code. What it puts out is nobody's; an exception becomes a sentence.
func (l *life) startup(ctx context.Context, client *jupyter.Client) (detail string, err error) {
	code := l.kernel.asked().Startup
	if code == "" {
		return "", nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		select {
		case <-l.proc.Done():
			cancel(jupyter.ErrDead)
		case <-ctx.Done():
		}
	})
	defer cancel(nil)
	m, err := client.Request(ctx, jupyter.Shell, "execute_request", map[string]any{
		"code": code, "silent": true, "store_history": false, "user_expressions": struct{}{},
		"allow_stdin": false, "stop_on_error": false,
	})
	if err != nil {
		return "", fmt.Errorf("run the startup code: %w", err)
	}
	var reply executeReply
	if err := json.Unmarshal(m.Content, &reply); err != nil || reply.Status != "ok" {
		return fmt.Sprintf("startup code failed: %s: %s", sentence(reply.Name), sentence(reply.Value)), nil
	}
	return "", nil
}

// serve waits for the end of a kernel that is ready. What it returns is why it must end, or nil
// when it did by itself.
func (l *life) serve(ctx context.Context) error {
	select {
	case <-l.proc.Done():
		return nil
	case <-ctx.Done():
		l.shutdown(ctx)
		return context.Cause(ctx)
	case <-l.client.Done():
		return errors.New("it closed its connections")
	}
}

// grace is the time in which a kernel that means to end has ended.
func (a *Agent) grace(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), a.options.Timing.Shutdown)
}

// shutdown lets an idle kernel end by itself, so that its exit handlers run. A busy one would not
// listen.
func (l *life) shutdown(ctx context.Context) {
	l.kernel.mu.Lock()
	busy := l.kernel.cell != nil
	l.kernel.mu.Unlock()
	if busy {
		return
	}
	wait, cancel := l.kernel.agent.grace(ctx)
	defer cancel()
	if err := l.client.Shutdown(wait, errors.Is(context.Cause(ctx), errRestart)); err != nil {
		return
	}
	select {
	case <-l.proc.Done():
	case <-wait.Done():
	}
}

// bury reports the end of a life. The state comes before the end of the cell: who has seen the
// end knows what the kernel is then.
func (k *kernel) bury(d death) (again bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.life = nil
	if k.there != nil {
		k.there()
		k.there = nil
	}
	if d.state.State != "" {
		k.setState(d.state)
	}
	again = d.again || k.wanted
	if again && k.state != cellhold.KernelRestarting {
		k.setState(cellhold.KernelStateContent{State: cellhold.KernelRestarting})
	}
	if k.cell != nil {
		k.endCell(k.cell, d.cell)
	}
	k.recent.forgetMessages()
	return again
}

// restart replaces the process, also of a dead kernel. It does not wait for the new one.
func (k *kernel) restart() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == cellhold.KernelRestarting {
		return // the new process is on its way
	}
	k.wanted = true
	k.setState(cellhold.KernelStateContent{State: cellhold.KernelRestarting})
	if k.life != nil {
		k.life.end(errRestart)
		return
	}
	select {
	case k.again <- struct{}{}:
	default:
	}
}

func kernelInfo(s jupyter.KernelSpec, i jupyter.KernelInfo) *cellhold.KernelInfo {
	return &cellhold.KernelInfo{
		Name:         s.Name,
		DisplayName:  s.DisplayName,
		Language:     s.Language,
		LanguageInfo: marshal(i.LanguageInfo),
	}
}
