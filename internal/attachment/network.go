package attachment

import (
	"context"
	"fmt"
	"net"

	"cellhold"
	"cellhold/internal/egress"
	"cellhold/internal/guestapi"
	"cellhold/internal/record"
)

// Network is the network access of a session.
type Network struct {
	Policy  cellhold.Egress // the recorded policy
	Vault   []byte          // the secrets, sealed by package egress
	Ceiling egress.Policy   // the widest policy that the operator allows now
	Rules   *egress.Rules
	Limits  egress.Limits
}

// OpenNetwork opens the network access of the session, if it has any, and serves the package requests of its code.
// If the recorded policy is wider than the operator allows now, the access stays closed.
func (a *Attachment) OpenNetwork(ctx context.Context, n Network) error {
	if a.o.Packages != nil {
		if err := a.Run(a.serveCode); err != nil {
			return err
		}
	}
	policy, err := egress.NewPolicy(n.Policy)
	if err != nil {
		return fmt.Errorf("read the recorded egress policy: %w", err)
	}
	if policy.None() {
		return nil
	}
	if err := policy.Within(n.Ceiling); err != nil {
		a.o.Logger.Warn("the network access of the session stays closed", "err", err)
		return a.client.CloseWay(ctx, guestapi.SessionWay) // connections of code then fail at once
	}
	vault, err := egress.Unseal(n.Vault)
	if err != nil {
		return err
	}
	way := guestapi.Way{Env: vault.Environment(), Trust: vault.Trust()}
	if _, err := a.client.OpenWay(ctx, guestapi.SessionWay, way); err != nil {
		return err
	}
	gate, err := egress.New(egress.Options{
		Policy: policy, Vault: vault, Rules: n.Rules, Limits: n.Limits, Record: a.recordAttempt, Logger: a.o.Logger,
		Next: func(ctx context.Context) (net.Conn, error) { return a.client.Next(ctx, guestapi.SessionWay) },
	})
	if err != nil {
		return err
	}
	return a.Run(gate.Run)
}

// recordAttempt records a connection attempt of the session's code.
func (a *Attachment) recordAttempt(ctx context.Context, x cellhold.EgressAttempt) error {
	return a.o.Log.Append(ctx, []record.Event{record.NewEvent(cellhold.EventEgress, "", "", x)})
}
