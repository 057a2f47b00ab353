package kernels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/agent/wire"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// maxMessage bounds the size of one message. It has space for the largest event with all its escapes, and
// keeps the agent's memory small.
const maxMessage = guestapi.MaxWireMessage

// Kernel is one kernel with all its processes. Each start and restart makes a new process.
type Kernel struct {
	id      cellhold.KernelID
	options Options
	log     *slog.Logger
	cancel  context.CancelCauseFunc // ends run
	done    chan struct{}           // closed when run has returned
	wake    chan struct{}           // capacity 1: wakes run when a dead kernel is restarted

	noStream bool // a process could not use its stream; only the goroutine of run uses this field

	wires wire.Hub

	mu           sync.Mutex
	request      guestapi.StartKernel
	spool        *spool.Spool // replaced when the agent is renewed
	state        cellhold.KernelState
	reported     cellhold.KernelStateContent // content of the last state event
	restartAsked bool                        // a restart was requested since the current process began
	restored     func()                      // called once when a saved kernel is restored; otherwise nil
	process      *process                    // nil while there is none
	cell         *cell                       // the running cell
	recent       recentCells
	raw          recentCells // messages of wires; their answers belong to no cell
	strange      int64       // number of messages that countStrange has counted
}

// process is one process of a kernel.
type process struct {
	kernel *Kernel
	end    context.CancelCauseFunc
	proc   Process         // set before messages come
	client *jupyter.Client // nil until the kernel is ready; guarded by Kernel.mu
	asking sync.WaitGroup  // the request to end; drain waits for it

	session atomic.Pointer[string] // Jupyter session of the newest message that has one; nil before that message

	waiting    atomic.Int32 // messages that are being put into the spool, or wait for space in it
	lastOutput atomic.Int64 // when the last output came, in nanoseconds
}

// New returns a kernel, which Launch starts. Its events are numbered from after+1.
func New(o Options, id cellhold.KernelID, r guestapi.StartKernel, after int64) *Kernel {
	k := &Kernel{
		id: id, request: r, options: o,
		log:   o.Logger.With("kernel", id),
		spool: spool.New(o.Spool, spool.Cell),
		done:  make(chan struct{}),
		wake:  make(chan struct{}, 1),
	}
	k.spool.StartAfter(after)
	k.setState(cellhold.KernelStateContent{State: cellhold.KernelStarting})
	return k
}

// Launch runs the kernel in a goroutine of work, until Delete is called or the context ends.
func (k *Kernel) Launch(ctx context.Context, work *sync.WaitGroup) {
	ctx, k.cancel = context.WithCancelCause(ctx)
	work.Go(func() { k.run(ctx) })
}

// Delete ends the kernel and waits for its end.
func (k *Kernel) Delete() {
	k.cancel(errDeleted)
	<-k.done
}

// ID returns the id of the kernel.
func (k *Kernel) ID() cellhold.KernelID { return k.id }

// setState records and reports the state of the kernel. The caller must hold mu, unless no other goroutine
// knows k.
func (k *Kernel) setState(s cellhold.KernelStateContent) {
	k.state, k.reported = s.State, s
	k.spool.Keep("", cellhold.EventKernelState, s)
}

// Info returns the state of the kernel for the host.
func (k *Kernel) Info() guestapi.KernelInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := guestapi.KernelInfo{ID: k.id, State: k.state, Last: k.spool.Last(), Strange: k.strange}
	if k.cell != nil { // a cell with code of the agent has no id
		i.Cell = k.cell.id
		if i.State == cellhold.KernelIdle {
			i.State = cellhold.KernelBusy
		}
	}
	return i
}

// Events returns the current spool.
func (k *Kernel) Events() *spool.Spool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.spool
}

// dead reports whether the kernel has ended. A restored kernel can be dead before it runs.
func (k *Kernel) dead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state == cellhold.KernelDead
}

// startRequest returns the request with which the host started the kernel.
func (k *Kernel) startRequest() guestapi.StartKernel {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.request
}

// run runs one process after another until the context ends.
func (k *Kernel) run(ctx context.Context) {
	defer close(k.done)
	defer k.wires.Close("The kernel was shut down.")
	defer func() { k.Events().Close() }()
	for start := !k.dead(); ; {
		again := start && k.reportEnd(k.runProcess(ctx))
		if ctx.Err() != nil {
			return
		}
		start = true
		if again {
			continue
		}
		select {
		case <-k.wake:
		case <-ctx.Done():
			return
		}
	}
}

// runProcess runs a process. If the kernel cannot use its stream, the start is repeated over ZeroMQ.
func (k *Kernel) runProcess(ctx context.Context) processEnd {
	late := time.Now().Add(k.options.Timing.Start)
	d := k.tryProcess(ctx, late)
	if d.noStream != "" {
		k.log.Warn("the kernel cannot use its stream; it is started over ZeroMQ", "reason", d.noStream)
		k.noStream = true
		d = k.tryProcess(ctx, late)
	}
	return d
}

// tryProcess starts a process, serves it until it ends or must end, and returns how it ended. The process
// must be ready before late.
func (k *Kernel) tryProcess(ctx context.Context, late time.Time) processEnd {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	p := k.newProcess(end)
	r := k.startRequest()
	proc, err := k.options.Launcher.Launch(ctx, LaunchSpec{Kernel: k.id, Spec: r.Spec, Env: k.options.Environment(r.Env), Dir: r.Dir, NoStream: k.noStream})
	if err != nil {
		d := endedByAgent(ctx, deadState(cellhold.StatusExit, fmt.Sprintf("The kernel could not be started: %s.", Sentence(err.Error()))))
		d.noStream = p.noStream(ctx, d, err)
		return d
	}
	p.proc = proc
	if err = p.prepare(ctx, late); err == nil {
		err = p.serve(ctx)
	}
	d := p.endOf(ctx, err)
	d.noStream = p.noStream(ctx, d, err)
	proc.Kill()
	p.drain(ctx)
	return d
}

// newProcess makes a new process the current one.
func (k *Kernel) newProcess(end context.CancelCauseFunc) *process {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.process = &process{kernel: k, end: end}
	k.restartAsked = false
	select {
	case <-k.wake:
	default:
	}
	return k.process
}

// drain reads the rest of the output from the sockets of a dead process, and closes them. Then it reads what the
// process has left in memory. The caller then reports the end of the running cell, after all this output.
func (p *process) drain(ctx context.Context) {
	if p.client == nil {
		return
	}
	wait, cancel := p.kernel.grace(ctx)
	defer cancel()
	late := int64(0)
	select {
	case <-p.client.Done():
	case <-wait.Done():
		late = 1 // the number of bytes is unknown
	}
	p.client.Close()
	p.asking.Wait()
	if n := max(p.client.Lost(), late); n > 0 {
		p.kernel.lose(n)
	}
}

// lose reports that the running cell has lost output, if there is one.
func (k *Kernel) lose(bytes int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.cell; c != nil && c.quiet == nil {
		k.spool.Lose(string(c.id), bytes)
	}
}

// prepare waits until the kernel is ready and has run its startup code, and reports it idle.
func (p *process) prepare(ctx context.Context, late time.Time) error {
	k := p.kernel
	start, cancel := context.WithDeadlineCause(ctx, late, errLate)
	defer cancel()
	client, err := p.dial(start)
	if err != nil {
		return err
	}
	if p.resume(client) {
		return nil
	}
	detail, err := p.startup(start, client)
	if err != nil {
		client.Close()
		return err
	}
	k.mu.Lock()
	if ctx.Err() != nil { // for example, a restart was requested during the start and was reported
		k.mu.Unlock() // Close waits for readers, which take the lock
		client.Close()
		return context.Cause(ctx)
	}
	defer k.mu.Unlock()
	p.client = client
	k.setState(cellhold.KernelStateContent{State: cellhold.KernelIdle, Detail: detail, Info: kernelInfo(p.proc.Spec(), client.Info())})
	return nil
}

// dial waits until the kernel has answered a request. Over a stream it waits for half of the time, so that
// the other half is left for ZeroMQ.
func (p *process) dial(ctx context.Context) (*jupyter.Client, error) {
	o := jupyter.Options{
		OnMessage:  p.message,
		Dead:       p.proc.Done(),
		Unsent:     p.proc.Unsent,
		MaxMessage: maxMessage,
		Log:        p.kernel.log,
	}
	stream := p.proc.Stream()
	if stream == nil {
		return jupyter.Dial(ctx, p.proc.Connection(), o)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.kernel.options.Timing.Start/2, errLate)
	defer cancel()
	client, err := jupyter.DialStream(ctx, stream, o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStream, err)
	}
	return client, nil
}

// resume gives the process to a restored kernel, and reports whether the kernel is a restored one. The host
// gets no report, because nothing changed for it.
func (p *process) resume(client *jupyter.Client) bool {
	k := p.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.restored == nil {
		return false
	}
	p.client = client
	k.restored()
	k.restored = nil
	return true
}

// startup runs the startup code and drops its output. detail describes an exception of the code.
func (p *process) startup(ctx context.Context, client *jupyter.Client) (detail string, err error) {
	code := p.kernel.startRequest().Startup
	if code == "" {
		return "", nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		select {
		case <-p.proc.Done():
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
		return fmt.Sprintf("startup code failed: %s: %s", Sentence(reply.Name), Sentence(reply.Value)), nil
	}
	return "", nil
}

// serve waits until a ready kernel ends or must end. It returns nil if the kernel ended by itself, and
// otherwise the reason why it must end.
func (p *process) serve(ctx context.Context) error {
	select {
	case <-p.proc.Done():
		return nil
	case <-ctx.Done():
		p.shutdown(ctx)
		return context.Cause(ctx)
	case <-p.client.Ended():
		return errors.New("it closed its connections")
	}
}

// grace returns a context with the time that a kernel gets to end by itself.
func (k *Kernel) grace(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), k.options.Timing.Shutdown)
}

// shutdown lets an idle kernel end by itself, so that its exit handlers run. A busy kernel would not read
// the request.
func (p *process) shutdown(ctx context.Context) {
	p.kernel.mu.Lock()
	busy := p.kernel.cell != nil
	p.kernel.mu.Unlock()
	if busy {
		return
	}
	wait, cancel := p.kernel.grace(ctx)
	defer cancel()
	refused := make(chan struct{})
	// A kernel that does not read never answers. So the request has a goroutine of its own, which ends with the
	// kernel or with wait.
	p.asking.Go(func() {
		if err := p.client.Shutdown(wait, errors.Is(context.Cause(ctx), errRestart)); err != nil {
			close(refused)
		}
	})
	select {
	case <-p.proc.Done():
	case <-refused:
	case <-wait.Done():
	}
}

// reportEnd reports the end of a process. The state comes before the end of the cell, so that a reader that
// sees the end already knows the state.
func (k *Kernel) reportEnd(d processEnd) (again bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.process = nil
	if k.restored != nil {
		k.restored()
		k.restored = nil
	}
	if d.state.State != "" {
		k.setState(d.state)
	}
	again = d.restart || k.restartAsked
	if again && k.state != cellhold.KernelRestarting {
		k.setState(cellhold.KernelStateContent{State: cellhold.KernelRestarting})
	}
	if k.cell != nil {
		k.endCell(k.cell, d.cell)
	}
	k.recent.forgetMessages()
	return again
}

// Restart starts a new process in place of the old one, or for a dead kernel. It does not wait for the new process.
func (k *Kernel) Restart() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == cellhold.KernelRestarting {
		return // a restart is in progress
	}
	k.restartAsked = true
	k.setState(cellhold.KernelStateContent{State: cellhold.KernelRestarting})
	if k.process != nil {
		k.process.end(errRestart)
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// kernelInfo describes a kernel to the host. Without the bound, a kernel could send a description that is too large
// for an event, and the host could read no events any more.
func kernelInfo(s jupyter.KernelSpec, i jupyter.KernelInfo) *cellhold.KernelInfo {
	language := marshal(i.LanguageInfo)
	if len(language) > guestapi.MaxLanguageInfo {
		language = marshal(jupyter.LanguageInfo{Name: Sentence(i.LanguageInfo.Name)})
	}
	return &cellhold.KernelInfo{
		Name:         s.Name,
		DisplayName:  Sentence(s.DisplayName),
		Language:     Sentence(s.Language),
		LanguageInfo: language,
	}
}
