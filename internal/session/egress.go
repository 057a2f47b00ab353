package session

import (
	"context"
	"errors"
	"fmt"
	"net"

	"cellhold"
	"cellhold/internal/egress"
	"cellhold/internal/guestapi"
)

// Egress is what the operator lets sessions reach. The zero value is nothing.
type Egress struct {
	Default egress.Policy // of sessions that ask for none
	Ceiling egress.Policy // most that a caller may ask for
	Rules   egress.Rules  // for all
	Limits  egress.Limits // of one session; zero fields mean the defaults
}

// egress checks what a caller asked for, and returns what the session gets, with its secrets sealed.
func (o *Options) egress(r CreateRequest) (cellhold.Egress, []byte, error) {
	policy := o.Egress.Default
	if r.Egress != nil {
		var err error
		if policy, err = egress.NewPolicy(*r.Egress); err != nil {
			return cellhold.Egress{}, nil, err
		}
		if err := policy.Within(o.Egress.Ceiling); err != nil {
			return cellhold.Egress{}, nil, err
		}
	}
	vault, err := egress.NewVault(policy, r.Secrets)
	if err != nil {
		return cellhold.Egress{}, nil, err
	}
	sealed, err := vault.Seal()
	return policy.Egress(), sealed, err
}

// shownSecrets is what is told of secrets.
func shownSecrets(list []cellhold.Secret) []cellhold.SecretInfo {
	var shown []cellhold.SecretInfo
	for _, s := range list {
		shown = append(shown, cellhold.SecretInfo{Name: s.Name, Host: s.Host})
	}
	return shown
}

// letOut opens the session's way out of its sandbox, if it may have one, as far as the operator
// allows it now: what was recorded under wider settings does not hold any more.
func (s *Session) letOut(ctx context.Context) error {
	s.mu.Lock()
	p := s.place
	s.mu.Unlock()
	if p == nil {
		return errors.New("the sandbox is gone")
	}
	return s.letOutOf(ctx, p)
}

// letOutOf is letOut for a place that need not be the session's yet. It also lets the code there ask for
// packages.
func (s *Session) letOutOf(ctx context.Context, p *place) error {
	if err := s.let(p, func(ctx context.Context) { s.hearCode(ctx, p.client) }); err != nil {
		return err
	}
	rec := s.record()
	policy, err := egress.NewPolicy(rec.Egress)
	if err != nil {
		return fmt.Errorf("the recorded egress policy: %w", err)
	}
	if policy.None() {
		return nil
	}
	if err := policy.Within(s.m.o.Egress.Ceiling); err != nil {
		s.slog.Warn("the session's way out stays closed", "err", err)
		return p.client.CloseWay(ctx, guestapi.SessionWay) // so that nobody waits there in vain
	}
	vault, err := egress.Unseal(rec.Vault)
	if err != nil {
		return err
	}
	way := guestapi.Way{Env: vault.Environment(), Trust: vault.Trust()}
	if _, err := p.client.OpenWay(ctx, guestapi.SessionWay, way); err != nil {
		return err
	}
	gate, err := egress.New(egress.Options{
		Policy: policy, Vault: vault, Rules: &s.m.o.Egress.Rules, Limits: s.m.o.Egress.Limits, Record: s.recordAttempt, Logger: s.slog,
		Next: func(ctx context.Context) (net.Conn, error) { return p.client.Next(ctx, guestapi.SessionWay) },
	})
	if err != nil {
		return err
	}
	return s.let(p, gate.Run)
}

// let lets something run for a place.
func (s *Session) let(p *place, run func(context.Context)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.run.Err() != nil { // whoever waits for what runs there does so already
		return errors.New("the sandbox is gone")
	}
	p.wg.Go(func() { run(p.run) })
	return nil
}

// recordAttempt keeps what the code of the session tried to reach.
func (s *Session) recordAttempt(ctx context.Context, a cellhold.EgressAttempt) error {
	return s.log.Append(ctx, []cellhold.Event{cellhold.NewEvent(cellhold.EventEgress, "", "", a)})
}

// maxAttempts bounds one page of attempts.
const maxAttempts = 1000

// Attempts returns what the code of the session tried to reach, oldest first: those recorded after
// the event of that number, and the number to go on after. An attempt whose connection ended on a later page
// is there again, with the same id.
func (s *Session) Attempts(ctx context.Context, after int64) (list []cellhold.EgressAttempt, next int64, err error) {
	list, next = []cellhold.EgressAttempt{}, after
	at := map[string]int{}
	for ev, err := range s.m.o.Store.ReadType(ctx, s.id, cellhold.EventEgress, after) {
		if err != nil {
			return nil, 0, cellhold.Wrap(cellhold.Internal, err, "The recorded attempts cannot be read.")
		}
		var a cellhold.EgressAttempt
		if err := ev.Decode(&a); err != nil {
			return nil, 0, cellhold.Wrap(cellhold.Internal, err, "A recorded attempt cannot be read.")
		}
		next = ev.Seq
		if i, known := at[a.ID]; known {
			list[i] = a
			continue
		}
		at[a.ID] = len(list)
		list = append(list, a)
		if len(list) == maxAttempts {
			break
		}
	}
	return list, next, nil
}
