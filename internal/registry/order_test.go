package registry_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
)

// heldStore holds up the first record of one user's session.
type heldStore struct {
	registry.Store
	user    string
	once    sync.Once
	arrived chan struct{} // closed when the record is held up
	pass    chan struct{} // ends the wait
}

func (h *heldStore) PutSession(ctx context.Context, s record.Session) error {
	if s.User == h.user {
		h.once.Do(func() { close(h.arrived); <-h.pass })
	}
	return h.Store.PutSession(ctx, s)
}

// orders notes the times at which callers asked for sandboxes.
type orders struct {
	sandbox.Driver
	mu    sync.Mutex
	asked map[cellhold.SessionID]time.Time
}

func (o *orders) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	o.mu.Lock()
	o.asked[cellhold.SessionID(s.Labels["session"])] = s.Asked
	o.mu.Unlock()
	return o.Driver.Create(ctx, s)
}

func TestASessionThatIsHeldUpKeepsItsPlaceBeforeLaterOnes(t *testing.T) {
	h := newHost(t)
	held := &heldStore{user: "early", arrived: make(chan struct{}), pass: make(chan struct{})}
	noted := &orders{asked: map[cellhold.SessionID]time.Time{}}
	s := h.serve(t, func(o *registry.Options) {
		held.Store, noted.Driver = o.Store, o.Driver
		o.Store, o.Driver = held, noted
	})
	var early cellhold.SessionID
	var creating sync.WaitGroup
	creating.Go(func() {
		ses, err := s.Create(t.Context(), registry.CreateRequest{Owner: "me", User: "early"})
		if err != nil {
			t.Error(err)
			return
		}
		early = ses.ID()
	})
	<-held.arrived
	late := s.create(t, registry.CreateRequest{User: "late"}).ID()
	close(held.pass)
	creating.Wait()
	if a, b := noted.asked[early], noted.asked[late]; a.IsZero() || !a.Before(b) {
		t.Errorf("the driver saw that the early session asked at %v and the late one at %v", a, b)
	}
}
