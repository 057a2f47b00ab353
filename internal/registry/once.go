package registry

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
)

// CreateOnce creates the session of one run. If the caller does not end it, it ends after lifetime, or a later server
// deletes it.
func (r *Registry) CreateOnce(ctx context.Context, owner string, q cellhold.RunRequest, lifetime time.Duration) (*session.Session, error) {
	return r.Create(ctx, CreateRequest{Owner: owner, Template: q.Template, Image: q.Image, Limits: q.Limits, Egress: q.Egress,
		Once: true, Deadline: &terms.Deadline{Lifetime: lifetime}})
}
