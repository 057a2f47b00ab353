package oneshot

import (
	"context"
	"errors"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/memory"
	"cellhold/internal/packages"
	"cellhold/internal/session"
)

const (
	// grace is how long the server waits after a timeout for the report that the code has ended. A fork bomb can
	// prevent the report.
	grace = 15 * time.Second
	// collectTime limits the reading of changed files, because the sandbox can fail to answer.
	collectTime = 20 * time.Second
	// endTime limits the call that ends a session. If this call fails, the session's own deadline ends the session.
	endTime = 2 * time.Minute
	// leastTime is the shortest timeout of code.
	leastTime = time.Millisecond
)

// errLate is the cause of the end of a run's context at its deadline.
var errLate = errors.New("the deadline of the run passed")

// errStuck says that code did not end in the grace after its timeout. Its sandbox must be destroyed.
var errStuck = errors.New("the code did not end at its timeout")

// job is one run in its own session.
type job struct {
	plan       plan
	memory     *memory.Budget
	session    *session.Session
	attachment *attachment.Attachment
	kernel     cellhold.KernelID // of the cell
	until      time.Time         // the deadline
	outcome
}

// outcome is the result of a run, and how far the run came.
type outcome struct {
	created bool // the run had a session
	begun   bool // code can have run
	result  cellhold.RunResult
	share   *memory.Share // memory of the result; nil if it is small. The caller of runOnce must release it
}

// runOnce runs a plan in a session of its own, and ends the session. It calls begin right before the first code runs.
// An error of begin ends the run. If code can have run, an error has one of three causes: the caller left, the image
// lacks a tool, or begin failed.
func (r *Runs) runOnce(ctx context.Context, owner string, p plan, begin func() error) (outcome, error) {
	until := time.Now().Add(p.deadline)
	ctx, cancel := context.WithDeadlineCause(ctx, until.Add(grace), errLate)
	defer cancel()
	s, err := r.o.Create(ctx, owner, p.request, p.deadline+grace+endTime)
	if err != nil {
		return outcome{}, notBegun(ctx, p, err)
	}
	defer r.end(ctx, s)
	j := &job{plan: p, memory: r.memory, session: s, until: until, outcome: outcome{created: true, result: emptyResult()}}
	a, leave, err := s.Enter(ctx)
	if err != nil {
		return j.outcome, notBegun(ctx, p, err)
	}
	defer leave()
	j.attachment = a
	if err := j.prepare(ctx); err != nil {
		return j.outcome, notBegun(ctx, p, err)
	}
	err = j.execute(ctx, begin)
	return j.outcome, err
}

// emptyResult returns a result whose lists are empty.
func emptyResult() cellhold.RunResult {
	return cellhold.RunResult{Outputs: []cellhold.Output{}, Tests: []cellhold.RunTestResult{}, Files: []cellhold.RunChangedFile{}}
}

// reserve takes memory for the large parts of the result. The end of ctx does not end the wait. The holders of the
// memory do not wait for callers, so they release it soon.
func (j *job) reserve(ctx context.Context) {
	if j.share == nil {
		j.share, _ = j.memory.Take(memory.Detach(ctx), maxResult) // fails only if its context ends
	}
}

// notBegun returns the error of a run whose code did not run.
func notBegun(ctx context.Context, p plan, err error) error {
	if errors.Is(context.Cause(ctx), errLate) {
		return cellhold.Wrap(cellhold.Unavailable, err, "The code did not run: the sandbox and the packages were not ready at the deadline of %s. Use a longer deadline, or retry later.", p.deadline)
	}
	return err
}

// end ends the session of a run, even if the caller left.
func (r *Runs) end(ctx context.Context, s *session.Session) {
	ending, cancel := context.WithTimeout(memory.Detach(ctx), endTime)
	defer cancel()
	if err := s.End(ending); err != nil {
		r.o.Logger.Error("ending the session of a run", "session", s.ID(), "err", err)
	}
}

// prepare writes the files, installs the packages, and starts the kernel of a cell.
func (j *job) prepare(ctx context.Context) error {
	for _, f := range j.plan.files {
		if _, err := j.attachment.WriteFile(ctx, f.path, 0, strings.NewReader(f.content), int64(len(f.content))); err != nil {
			return err
		}
	}
	if list := j.plan.request.Packages; len(list) > 0 {
		if _, err := j.attachment.Install(ctx, packages.Request{Requirements: list}); err != nil {
			return err
		}
	}
	spec := j.plan.language.kernel
	kernels := j.session.Info().Kernels
	if !j.plan.cell || len(kernels) > 0 && kernels[0].Spec == spec {
		return nil
	}
	k, err := j.session.AddKernel(ctx, attachment.KernelRequest{Spec: spec})
	j.kernel = k.ID
	return err
}

// execute runs the code, and collects the result.
func (j *job) execute(ctx context.Context, begin func() error) error {
	before, err := j.present(ctx)
	if err != nil {
		return notBegun(ctx, j.plan, err)
	}
	if _, err := j.left(j.plan.timeout); err != nil {
		return cellhold.Errorf(cellhold.Unavailable, "The code did not run: the sandbox and the packages were not ready at the deadline of %s. Use a longer deadline, or retry later.", j.plan.deadline)
	}
	if err := begin(); err != nil {
		return err
	}
	j.begun = true
	measured := j.attachment.Measure(ctx)
	err = j.code(ctx)
	if err != nil && cellhold.KindOf(err) == cellhold.Invalid { // such as a missing compiler
		return err
	}
	if left := context.Cause(ctx); left != nil && !errors.Is(left, errLate) {
		return left
	}
	if err != nil {
		j.result.Status, j.result.Cause = j.statusOf(err)
	}
	files := before != nil && !errors.Is(err, errStuck)
	if files {
		j.reserve(ctx)
	}
	collecting, cancel := context.WithTimeout(memory.Detach(ctx), collectTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(context.Cause(ctx), errLate) {
			cancel() // the caller left
		}
	})
	defer stop()
	usage := measured(collecting)
	j.result.Usage = &usage
	if files {
		j.changedFiles(collecting, before)
	}
	return nil
}

// code runs the cell, the program or the tests.
func (j *job) code(ctx context.Context) error {
	if j.plan.cell {
		return j.runCell(ctx)
	}
	if ready, err := j.compile(ctx); err != nil || !ready {
		return err
	}
	if len(j.plan.request.Tests) > 0 {
		return j.runTests(ctx)
	}
	return j.runProgram(ctx)
}

// runCell runs the code as a cell.
func (j *job) runCell(ctx context.Context) error {
	timeout, err := j.left(j.plan.timeout)
	if err != nil {
		return err
	}
	c, err := j.session.Execute(ctx, session.ExecuteRequest{Kernel: j.kernel, Code: j.plan.request.Code, Timeout: timeout, Env: j.plan.request.Env})
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeoutCause(ctx, timeout+grace, errStuck)
	defer cancel()
	if _, _, err := j.session.History().AwaitCell(waiting, c.ID); err != nil {
		return stuckOr(waiting, err)
	}
	j.reserve(ctx)
	return j.session.History().UseCell(ctx, c.ID, j.takeCell)
}

// stuckOr returns errStuck if it is the cause of the end of ctx, and otherwise err.
func stuckOr(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStuck) {
		return errStuck
	}
	return err
}

// left returns the remaining time for code, which is at most limit. At the deadline it returns the error errLate.
func (j *job) left(limit time.Duration) (time.Duration, error) {
	left := time.Until(j.until)
	if left < leastTime {
		return 0, errLate
	}
	return max(min(limit, left, j.plan.most), leastTime), nil
}

// statusOf returns the status and the cause of a run that an error ended.
func (j *job) statusOf(err error) (cellhold.RunStatus, string) {
	if errors.Is(err, errLate) || errors.Is(err, context.DeadlineExceeded) {
		return cellhold.RunTimeout, "The run was ended at its deadline of " + j.plan.deadline.String() + "."
	}
	if errors.Is(err, errStuck) {
		return cellhold.RunTimeout, causeOf(err)
	}
	return cellhold.RunLost, causeOf(err)
}

// causeOf returns a sentence for callers about an error.
func causeOf(err error) string {
	if e, ok := errors.AsType[*cellhold.Error](err); ok && e.Kind != cellhold.Internal {
		return e.Message
	}
	if errors.Is(err, errLate) {
		return "The deadline of the run passed."
	}
	if errors.Is(err, errStuck) {
		return "The code did not end at its timeout, so its sandbox was destroyed."
	}
	return "The sandbox of the run ended."
}
