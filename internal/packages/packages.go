// Package packages decides which packages can be installed in a session, and reports the changes of an installation.
//
// It parses requirements strictly and checks them against the operator's policy. It lets the agent in the sandbox
// install them, and answers the installer's requests to its index. The sandbox's own report is not trusted: the
// server itself records which files were transferred, and their hashes.
//
// It holds no locks.
package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/packages/index"
)

const (
	// DefaultTimeout is the default time limit of an installation.
	DefaultTimeout = 5 * time.Minute
	// spare is how much longer than the installation the host waits for the agent's answer. The agent inspects the packages
	// and asks the kernels afterwards.
	spare = 20 * time.Second
	// lookTime bounds the check whether packages are installed already.
	lookTime = 20 * time.Second
	// askers is the number of requests that are answered at once. uv requests some pages and files together.
	askers = 6
	// maxAsks bounds the requests of one installation. Large installations have 500.
	maxAsks = 10_000
	// A hostile agent could answer "no request yet" as fast as it can. After quickEmpty such answers in less than quickTime
	// each, it is not asked any more.
	quickEmpty = 100
	quickTime  = 100 * time.Millisecond
)

// Guest is the installer in a sandbox.
type Guest interface {
	// InstallPackages makes one change and returns at its end. The end of the context ends it.
	InstallPackages(ctx context.Context, in guestapi.Install) (guestapi.Installed, error)
	// NextAsk waits for a request of the installer. It returns false if there was none for a while.
	NextAsk(ctx context.Context) (guestapi.Question, bool, error)
	// LookPackages reports whether requirements are met already. It changes nothing.
	LookPackages(ctx context.Context, in guestapi.Install) (guestapi.Installed, error)
	// AnswerAsk answers a request. A size below 0 means unknown.
	AnswerAsk(ctx context.Context, id int64, status int, kind string, size int64, body io.Reader) error
}

// Options configures Packages.
type Options struct {
	Policy  Policy
	Code    CodeMode      // what code in sessions can install, within the policy
	Index   *index.Index  // the sources of packages; can be nil
	NoIndex string        // the error for callers if Index is nil; empty means a default text
	Timeout time.Duration // limit of one installation; 0 means DefaultTimeout
	Logger  *slog.Logger  // nil: no log
}

// Packages installs packages in sessions. Its methods can be called from any goroutine.
type Packages struct{ o Options }

// New returns Packages.
func New(o Options) (*Packages, error) {
	if err := o.Policy.check(); err != nil {
		return nil, err
	}
	switch o.Code {
	case "", CodeOff, CodeAllowlist, CodeCallers:
	default:
		return nil, cellhold.Errorf(cellhold.Invalid, "Invalid package policy %q for code: use off, allowlist or callers.", o.Code)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Timeout < 0 {
		return nil, errors.New("packages: the timeout must not be negative")
	}
	if o.NoIndex == "" {
		o.NoIndex = "This server has no package index."
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Packages{o}, nil
}

// Request asks for packages. Requirements and File can both be set.
type Request struct {
	Requirements []string // one requirement each
	File         string   // text of a requirements file
	Upgrade      bool     // upgrade the named packages to the newest matching version
	Alone        bool     // install without dependencies
}

// Plan is a request that the policy allows.
type Plan struct {
	resolved
	hashes, upgrade, alone bool
	code                   *Tally // the tally of the code that asks; nil for a caller
	say                    func(line string)
}

// Said returns the plan with a function that receives progress lines. say must not block. It can be called from several
// goroutines at once.
func (p Plan) Said(say func(line string)) Plan {
	p.say = say
	return p
}

var errNoIndex = errors.New("no package index")

// Plan checks a request before any change. After an error of the kind Denied or Unavailable, the plan is still valid for
// Present.
func (p *Packages) Plan(r Request) (Plan, error) { return p.plan(r, nil) }

func (p *Packages) plan(r Request, code *Tally) (Plan, error) {
	plan := Plan{upgrade: r.Upgrade, alone: r.Alone, code: code}
	for _, text := range r.Requirements {
		one, err := ParseRequirement(text)
		if err != nil {
			return plan, err
		}
		plan.list = append(plan.list, one)
	}
	fromFile, hashes, err := ParseFile(r.File)
	if err != nil {
		return plan, err
	}
	plan.list = append(plan.list, fromFile...)
	if len(plan.list) == 0 {
		return plan, cellhold.Errorf(cellhold.Invalid, "The request contains no package.")
	}
	if len(plan.list) > guestapi.MaxRequirements {
		return plan, cellhold.Errorf(cellhold.Invalid, "The request has more than %d requirements.", guestapi.MaxRequirements)
	}
	denial := p.checkModes(code != nil)
	if plan.resolved = resolve(plan.list, p.keeps(code != nil, denial == nil)); len(plan.list) == 0 {
		return plan, nil
	}
	if denial != nil {
		return plan, denial
	}
	if err := p.o.Policy.permit(plan.list); err != nil {
		return plan, err
	}
	if code != nil {
		if err := p.checkCode(plan.list); err != nil {
			return plan, err
		}
	}
	plan.hashes = hashes || p.o.Policy.Mode == Hashes || slices.ContainsFunc(plan.list, func(r Requirement) bool { return len(r.Hashes) > 0 })
	if plan.hashes {
		if err := needHashes(plan.list); err != nil {
			return plan, &cellhold.Error{Kind: cellhold.Invalid, Message: sentenceOf(err), Err: err}
		}
	}
	if p.o.Index == nil {
		return plan, cellhold.Wrap(cellhold.Unavailable, errNoIndex, "%s", p.o.NoIndex)
	}
	return plan, nil
}

// keeps returns a function for one request. It reports whether a package of a name is on the allowlist or belongs
// to the operator. If look is set, the function also reads the operator's folders, once.
func (p *Packages) keeps(code, look bool) func(name string) bool {
	owns := func(string) bool { return false }
	if look && p.o.Index != nil {
		owns = p.o.Index.Owned()
	}
	listed := p.o.Policy.Mode == Allowlist || code && p.o.Code == CodeAllowlist
	list := Policy{Mode: Allowlist, Allow: p.o.Policy.Allow}
	return func(name string) bool { return listed && list.allowed(name) == nil || owns(name) }
}

// allowed returns a function that returns an error if the plan must not install a package.
func (p *Packages) allowed(plan Plan) func(name string) error {
	return func(name string) error {
		if err := p.o.Policy.allowed(name); err != nil || plan.code == nil {
			return err
		}
		return p.checkCode([]Requirement{{Name: name}})
	}
}

// guestInstall returns the agent's form of a plan.
func (p *Packages) guestInstall(plan Plan) guestapi.Install {
	in := guestapi.Install{Hashes: plan.hashes, Source: p.o.Policy.Source, Timeout: p.o.Timeout, Upgrade: plan.upgrade, Alone: plan.alone}
	for _, r := range plan.list {
		in.Requirements = append(in.Requirements, r.String())
		in.Names = append(in.Names, r.Name)
	}
	return in
}

// MayBePresent reports whether installed packages can meet the plan. They cannot if it has hashes: hashes belong to files,
// and these do not exist any more.
func (p Plan) MayBePresent() bool {
	return len(p.list) > 0 && !p.hashes && !p.upgrade && !slices.ContainsFunc(p.list, func(r Requirement) bool { return len(r.Hashes) > 0 })
}

// Present reports on a plan without executing it, because the policy can refuse it. It returns true if all named
// packages are installed already.
func (p *Packages) Present(ctx context.Context, g Guest, plan Plan) (cellhold.Installation, bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTime+spare)
	defer cancel()
	in := p.guestInstall(plan)
	in.Timeout = lookTime
	out, err := g.LookPackages(ctx, in)
	if err != nil || out.Failure != guestapi.InstallOK {
		return cellhold.Installation{}, false
	}
	return plan.report(out), true
}

// report returns the report on a plan.
func (p Plan) report(out guestapi.Installed) cellhold.Installation {
	var names []string
	for _, r := range p.list {
		names = append(names, r.Name)
	}
	report := newReport(out, names, p.asked)
	report.Warnings = append(slices.Clone(p.notes), report.Warnings...)
	for _, c := range report.Changes { // opencv-python was a dependency, or resolve kept its name
		if better := headless[c.Name]; better != "" && c.After != "" {
			report.Warnings = append(report.Warnings, fmt.Sprintf("%s needs libGL, which this image may not have. If import cv2 fails, install %s too.", c.Name, better))
		}
	}
	report.Imports = append(slices.Clone(p.modules), report.Imports...)
	return report
}

// Install executes a plan. The second result has the new packages with the hashes of their files, for the lock. If
// the report has changes and there is also an error, the changes were made before the error.
func (p *Packages) Install(ctx context.Context, g Guest, plan Plan) (cellhold.Installation, []cellhold.Package, error) {
	if len(plan.list) == 0 { // the request contains only modules of the standard library
		return plan.report(guestapi.Installed{}), nil, nil
	}
	in := p.guestInstall(plan)
	rule := index.Rule{Allowed: p.allowed(plan), Source: p.o.Policy.Source}
	if plan.code != nil {
		rule.Count = plan.code.take
	}
	if plan.say != nil {
		rule.Begun = downloads(plan.say)
	}
	if plan.hashes {
		for _, r := range plan.list {
			rule.SHA256 = append(rule.SHA256, r.hashes256()...)
		}
	}
	visit := p.o.Index.Visit(rule)
	out, err := p.drive(ctx, g, in, visit)
	if err != nil {
		return cellhold.Installation{}, nil, err
	}
	report := plan.report(out)
	if out.Failure != guestapi.InstallOK {
		err = p.failed(out, visit)
	}
	return report, provenance(report.Changes, visit.Files()), err
}

// Remove removes packages by their names.
func (p *Packages) Remove(ctx context.Context, g Guest, names []string) (cellhold.Installation, error) {
	if p.o.Policy.Mode == "" || p.o.Policy.Mode == Off {
		return cellhold.Installation{}, p.o.Policy.permit(nil)
	}
	in := guestapi.Install{Timeout: p.o.Timeout}
	for _, name := range names {
		if !validName(name) {
			return cellhold.Installation{}, cellhold.Errorf(cellhold.Invalid, "%.80q is not the name of a package.", name)
		}
		in.Remove = append(in.Remove, normalName(name))
	}
	out, err := p.drive(ctx, g, in, nil)
	if err != nil {
		return cellhold.Installation{}, err
	}
	report := newReport(out, nil, nil)
	switch {
	case out.Failure != guestapi.InstallOK:
		err = p.failed(out, nil)
	case len(report.Changes) == 0:
		err = cellhold.Errorf(cellhold.NotFound, "No such package is installed: %s.", strings.Join(in.Remove, ", "))
	}
	return report, err
}

// drive runs an installation in the guest, and answers the installer's requests at the same time.
func (p *Packages) drive(ctx context.Context, g Guest, in guestapi.Install, visit *index.Visit) (guestapi.Installed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Timeout+spare, errSlow)
	defer cancel()
	asking, stop := context.WithCancel(ctx)
	defer stop()
	var workers sync.WaitGroup
	if visit != nil {
		for range askers {
			workers.Go(func() {
				if err := p.answer(asking, g, visit); asking.Err() == nil {
					p.o.Logger.Warn("an installation was stopped", "err", err)
					cancel()
				}
			})
		}
	}
	out, err := g.InstallPackages(ctx, in)
	stop()
	workers.Wait()
	if errors.Is(context.Cause(ctx), errSlow) {
		return out, p.timedOut()
	}
	return out, err
}

var errSlow = errors.New("the installation took too long")

func (p *Packages) timedOut() error {
	return cellhold.Wrap(cellhold.Unavailable, errSlow, "The installation was stopped: it exceeded the time limit of %s.", p.o.Timeout)
}

// answer answers requests one after the other. It returns the error that ended it, or that of the context.
func (p *Packages) answer(ctx context.Context, g Guest, visit *index.Visit) error {
	quick := 0
	for range maxAsks {
		began := time.Now()
		ask, ok, err := g.NextAsk(ctx)
		if err != nil {
			return err
		}
		if !ok {
			if time.Since(began) < quickTime {
				if quick++; quick > quickEmpty {
					return errors.New("the agent sent too many empty answers")
				}
			}
			continue
		}
		a := visit.Open(ctx, ask.Path)
		err = g.AnswerAsk(ctx, ask.ID, a.Status, a.Type, a.Size, a.Body)
		a.Body.Close()
		if err != nil && ctx.Err() == nil {
			// The installer may not need this answer any more: it takes the first one that it can use. The index reports
			// incomplete files.
			p.o.Logger.Debug("an answer was not taken", "path", ask.Path, "err", err)
		}
	}
	return fmt.Errorf("the installer sent more than %d requests", maxAsks)
}

// failed returns why an installation failed. A refusal of the server comes first, because it is the most precise reason.
func (p *Packages) failed(out guestapi.Installed, visit *index.Visit) error {
	changed := ""
	if len(out.Changes) > 0 {
		changed = " Some packages were changed before the failure."
	}
	if out.Failure == guestapi.InstallTimeout {
		return p.timedOut()
	}
	if visit != nil {
		if err := visit.Fault(); err != nil {
			return err
		}
	}
	switch out.Failure {
	case guestapi.InstallDiskFull:
		return cellhold.Errorf(cellhold.Exhausted, "The session's disk is full; the packages do not fit. Create a session with a larger disk limit.%s", changed)
	case guestapi.InstallKilled:
		return cellhold.Errorf(cellhold.Exhausted, "The installer was killed; the session may need a higher limit of memory or processes.%s", changed)
	}
	return &cellhold.Error{Kind: cellhold.Invalid, Message: "The installer failed: " + lastWords(out.Log) + changed}
}

// sentenceOf returns the message of an error, without its cause.
func sentenceOf(err error) string {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return e.Message
	}
	return err.Error()
}
