package registry_test

import (
	"context"
	"errors"
	"iter"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
)

// stubbornDriver has restored sandboxes that do not answer and cannot be destroyed, while it is bad.
type stubbornDriver struct {
	*fake.Driver
	bad       atomic.Bool
	destroyed chan sandbox.ID // the sandboxes that were destroyed after a failure
}

func (d *stubbornDriver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	sb, err := d.Driver.Create(ctx, s)
	if err != nil || !d.bad.Load() {
		return sb, err
	}
	return stubbornSandbox{sb, d}, nil
}

type stubbornSandbox struct {
	sandbox.Sandbox
	driver *stubbornDriver
}

func (b stubbornSandbox) Dial(context.Context) (net.Conn, error) { return nil, errors.New("no answer") }

func (b stubbornSandbox) Destroy(ctx context.Context) error {
	if b.driver.bad.Load() {
		return errors.New("the sandbox does not end")
	}
	err := b.Sandbox.Destroy(ctx)
	b.driver.destroyed <- b.ID()
	return err
}

func TestASandboxThatIsStillDestroyedDelaysNoNewOne(t *testing.T) {
	h := newHost(t)
	d := &stubbornDriver{destroyed: make(chan sandbox.ID, 10)}
	s := h.serve(t, func(o *registry.Options) { d.Driver, o.Driver = o.Driver.(*fake.Driver), d }).create(t, registry.CreateRequest{})
	run(t, s, "set x 42")
	hibernate(t, s)
	old := s.Record().Sandbox
	d.bad.Store(true)
	if err := s.Resume(t.Context()); err == nil {
		t.Fatal("the session resumed in a sandbox that does not answer")
	}
	d.bad.Store(false) // the stray is still there
	if got := text(run(t, s, "get x")); got != `"42"` {
		t.Errorf("x is %s after the second try, want 42", got)
	}
	select {
	case stray := <-d.destroyed:
		if now := s.Record().Sandbox; now == string(stray) || now == old {
			t.Errorf("the new sandbox has the id %s; the stray had %s, and the one before %s", now, stray, old)
		}
	case <-time.After(time.Minute):
		t.Error("the stray was not destroyed")
	}
	if got := text(run(t, s, "get x")); got != `"42"` {
		t.Errorf("x is %s after the end of the stray, want 42", got)
	}
}

// damagedStore has a damaged record of one session.
type damagedStore struct {
	registry.Store
	damaged cellhold.SessionID
}

func (d damagedStore) Sessions(ctx context.Context) iter.Seq2[record.Session, error] {
	return func(yield func(record.Session, error) bool) {
		for rec, err := range d.Store.Sessions(ctx) {
			if rec.ID == d.damaged {
				rec, err = record.Session{Session: cellhold.Session{ID: d.damaged}}, errors.New("damaged")
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

// unlabelled is a driver whose own records of its sandboxes are damaged.
type unlabelled struct{ *fake.Driver }

func (d unlabelled) List(ctx context.Context) ([]sandbox.Info, error) {
	infos, err := d.Driver.List(ctx)
	for i := range infos {
		infos[i].Labels = nil
	}
	return infos, err
}

func TestTheSandboxOfASessionWithADamagedRecordIsKeptEvenWithoutALabel(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	s := first.create(t, registry.CreateRequest{})
	first.stop()
	d := unlabelled{}
	h.serve(t, func(o *registry.Options) {
		d.Driver = o.Driver.(*fake.Driver)
		o.Driver, o.Store = d, damagedStore{o.Store, s.ID()}
	})
	infos, err := d.List(t.Context())
	if err != nil || len(infos) != 1 || string(infos[0].ID) != s.Record().Sandbox {
		t.Errorf("the sandboxes are %v, %v; want only %s", infos, err, s.Record().Sandbox)
	}
}
