// Package packages decides what may be installed in a session, and tells what an installation has
// changed.
//
// It reads requirements strictly, holds them against the operator's policy, lets the agent in the
// sandbox install them, and answers the questions that the installer there has for its index. It
// refuses to believe the sandbox more than that: which files were handed over, and their
// hashes, are what this side saw.
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
	// DefaultTimeout is how long an installation may take.
	DefaultTimeout = 5 * time.Minute
	// spare is how much longer than the installation the host waits for the agent's answer: it
	// looks at the packages afterwards and asks the kernels.
	spare = 20 * time.Second
	// lookTime is how long it may take to find out whether packages are there already.
	lookTime = 20 * time.Second
	// askers is how many questions are answered at once; uv asks for some pages and files together.
	askers = 6
	// maxAsks bounds the questions of one installation. Large ones have 500.
	maxAsks = 10_000
	// A hostile agent could answer "no question yet" as fast as it can: after quickEmpty of these in
	// less than quickTime each, nobody asks it any more.
	quickEmpty = 100
	quickTime  = 100 * time.Millisecond
)

// Guest is the installer in a sandbox.
type Guest interface {
	// InstallPackages makes one change and returns when it has ended, or ends it with the context.
	InstallPackages(ctx context.Context, in guestapi.Install) (guestapi.Installed, error)
	// NextAsk waits for a question of the installer; false means that there was none for a while.
	NextAsk(ctx context.Context) (guestapi.Question, bool, error)
	// LookPackages says whether requirements are met already, and changes nothing.
	LookPackages(ctx context.Context, in guestapi.Install) (guestapi.Installed, error)
	// AnswerAsk answers one; a size below zero is unknown.
	AnswerAsk(ctx context.Context, id int64, status int, kind string, size int64, body io.Reader) error
}

// Options configures Packages.
type Options struct {
	Policy  Policy
	Code    CodeMode      // what code in sessions may install, within the policy
	Index   *index.Index  // where packages come from; nil means nowhere
	NoIndex string        // what to tell callers when Index is nil; empty means a plain sentence
	Timeout time.Duration // of one installation; 0 means DefaultTimeout
	Logger  *slog.Logger  // nil discards
}

// Packages installs packages in sessions. Its methods may be called from any goroutine.
type Packages struct{ o Options }

// New returns Packages.
func New(o Options) (*Packages, error) {
	if err := o.Policy.check(); err != nil {
		return nil, err
	}
	switch o.Code {
	case "", CodeOff, CodeAllowlist, CodeCallers:
	default:
		return nil, cellhold.Errorf(cellhold.Invalid, "What code may install is off, allowlist or callers, not %q.", o.Code)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Timeout < 0 {
		return nil, errors.New("packages: the timeout is negative")
	}
	if o.NoIndex == "" {
		o.NoIndex = "This server knows no package index."
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Packages{o}, nil
}

// Request asks for packages. Requirements and File may both be given.
type Request struct {
	Requirements []string // one each
	File         string   // text of a requirements file
	Upgrade      bool     // what is named, to the newest version that fits
	Alone        bool     // without what the packages need
}

// Plan is a request that the policy allows.
type Plan struct {
	resolved
	hashes, upgrade, alone bool
	code                   *Tally // of the code that asks; nil for a caller
	say                    func(line string)
}

// Said is the plan whose installation says in lines what it does. say must not block, and may be called from
// several goroutines at once.
func (p Plan) Said(say func(line string)) Plan {
	p.say = say
	return p
}

var errNoIndex = errors.New("no package index")

// Plan checks a request before anything is done. With an error of the kind Denied or Unavailable it is good
// for Present all the same.
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
		return plan, cellhold.Errorf(cellhold.Invalid, "Name at least one package.")
	}
	if len(plan.list) > guestapi.MaxRequirements {
		return plan, cellhold.Errorf(cellhold.Invalid, "There are more than %d requirements.", guestapi.MaxRequirements)
	}
	never := p.never(code != nil)
	if plan.resolved = resolve(plan.list, p.keeps(code != nil, never == nil)); len(plan.list) == 0 {
		return plan, nil
	}
	if never != nil {
		return plan, never
	}
	if err := p.o.Policy.judge(plan.list); err != nil {
		return plan, err
	}
	if code != nil {
		if err := p.codeMay(plan.list); err != nil {
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

// keeps returns what reports, for one request, whether the operator has a package of just that name, or names it on
// the list that counts. Only with look does it look into the operator's folders, once.
func (p *Packages) keeps(code, look bool) func(name string) bool {
	owns := func(string) bool { return false }
	if look && p.o.Index != nil {
		owns = p.o.Index.Owned()
	}
	listed := p.o.Policy.Mode == Allowlist || code && p.o.Code == CodeAllowlist
	list := Policy{Mode: Allowlist, Allow: p.o.Policy.Allow}
	return func(name string) bool { return listed && list.allowed(name) == nil || owns(name) }
}

// allowed says why a package may not be installed by the plan, or nil.
func (p *Packages) allowed(plan Plan) func(name string) error {
	return func(name string) error {
		if err := p.o.Policy.allowed(name); err != nil || plan.code == nil {
			return err
		}
		return p.codeMay([]Requirement{{Name: name}})
	}
}

// guestInstall is a plan for the agent.
func (p *Packages) guestInstall(plan Plan) guestapi.Install {
	in := guestapi.Install{Hashes: plan.hashes, Source: p.o.Policy.Source, Timeout: p.o.Timeout, Upgrade: plan.upgrade, Alone: plan.alone}
	for _, r := range plan.list {
		in.Requirements = append(in.Requirements, r.String())
		in.Names = append(in.Names, r.Name)
	}
	return in
}

// MayBePresent reports whether a plan can be met by what is there already. Hashes are of files, which are not
// there any more.
func (p Plan) MayBePresent() bool {
	return len(p.list) > 0 && !p.hashes && !p.upgrade && !slices.ContainsFunc(p.list, func(r Requirement) bool { return len(r.Hashes) > 0 })
}

// Present reports on a plan that may not be carried out: true when all that it names is there already.
func (p *Packages) Present(ctx context.Context, g Guest, plan Plan) (cellhold.Installation, bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTime+spare)
	defer cancel()
	in := p.guestInstall(plan)
	in.Timeout = lookTime
	out, err := g.LookPackages(ctx, in)
	if err != nil || out.Failure != guestapi.InstallOK {
		return cellhold.Installation{}, false
	}
	return plan.tell(out), true
}

// tell is the report on a plan.
func (p Plan) tell(out guestapi.Installed) cellhold.Installation {
	var names []string
	for _, r := range p.list {
		names = append(names, r.Name)
	}
	report := tell(out, names, p.asked)
	report.Warnings = append(slices.Clone(p.notes), report.Warnings...)
	for _, c := range report.Changes { // it came as what another package needs, or by the name of its file
		if better := headless[c.Name]; better != "" && c.After != "" {
			report.Warnings = append(report.Warnings, fmt.Sprintf("%s needs libGL, which images without a screen lack. If import cv2 fails, install %s too.", c.Name, better))
		}
	}
	report.Imports = append(slices.Clone(p.modules), report.Imports...)
	return report
}

// Install installs what a plan names. The second result is how the packages named in the first came
// about, for the lock. An error may come with changes: those were made before it.
func (p *Packages) Install(ctx context.Context, g Guest, plan Plan) (cellhold.Installation, []cellhold.Package, error) {
	if len(plan.list) == 0 { // nothing but what is part of Python
		return plan.tell(guestapi.Installed{}), nil, nil
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
	report := plan.tell(out)
	if out.Failure != guestapi.InstallOK {
		err = p.failed(out, visit)
	}
	return report, provenance(report.Changes, visit.Files()), err
}

// Remove removes packages by their names.
func (p *Packages) Remove(ctx context.Context, g Guest, names []string) (cellhold.Installation, error) {
	if p.o.Policy.Mode == "" || p.o.Policy.Mode == Off {
		return cellhold.Installation{}, p.o.Policy.judge(nil)
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
	report := tell(out, nil, nil)
	switch {
	case out.Failure != guestapi.InstallOK:
		err = p.failed(out, nil)
	case len(report.Changes) == 0:
		err = cellhold.Errorf(cellhold.NotFound, "No such package is installed: %s.", strings.Join(in.Remove, ", "))
	}
	return report, err
}

// drive lets the guest work, and answers its questions meanwhile.
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
					p.o.Logger.Warn("an installation was given up", "err", err)
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
	return cellhold.Wrap(cellhold.Unavailable, errSlow, "The installation was not done within %s and was ended.", p.o.Timeout)
}

// answer answers one question after the other until the context ends or something breaks, and says
// what that was.
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
					return errors.New("the agent has no questions too often")
				}
			}
			continue
		}
		a := visit.Open(ctx, ask.Path)
		err = g.AnswerAsk(ctx, ask.ID, a.Status, a.Type, a.Size, a.Body)
		a.Body.Close()
		if err != nil && ctx.Err() == nil {
			// The installer may have gone away from this one: it takes the first answer that
			// it can use. A file that breaks off is told by the index.
			p.o.Logger.Debug("an answer was not taken", "path", ask.Path, "err", err)
		}
	}
	return fmt.Errorf("the installer had more than %d questions", maxAsks)
}

// failed says why an installation failed: what this side refused first, because it knows best.
func (p *Packages) failed(out guestapi.Installed, visit *index.Visit) error {
	changed := ""
	if len(out.Changes) > 0 {
		changed = " Some packages were changed before that."
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
		return cellhold.Errorf(cellhold.Exhausted, "The session's disk is full; the packages do not fit. Ask for a larger one in the session's limits.%s", changed)
	case guestapi.InstallKilled:
		return cellhold.Errorf(cellhold.Exhausted, "The installer was killed; the session's memory or processes may not suffice.%s", changed)
	}
	return &cellhold.Error{Kind: cellhold.Invalid, Message: "The installer refused: " + lastWords(out.Log) + changed}
}

// sentenceOf is the sentence of an error that is ours.
func sentenceOf(err error) string {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return e.Message
	}
	return err.Error()
}
