package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"cellhold"
	"cellhold/internal/session/terms"
)

// createParts has the parts of a CreateRequest that its digest covers. The digest is stored, so it covers no value of a
// secret. Absent parts have no text: a new part then does not change the digests of requests that do not use it. So a
// client can repeat a request after an update of the server.
type createParts struct {
	User     string                  `json:",omitempty"`
	Template string                  `json:",omitempty"`
	Image    string                  `json:",omitempty"`
	Startup  string                  `json:",omitempty"`
	Limits   cellhold.Limits         `json:",omitzero"`
	Egress   *cellhold.Egress        `json:",omitempty"`
	Secrets  []cellhold.SecretInfo   `json:",omitempty"`
	Figures  *cellhold.Figures       `json:",omitempty"`
	Meta     map[string]string       `json:",omitempty"`
	Env      map[string]string       `json:",omitempty"`
	Dir      string                  `json:",omitempty"`
	Resume   cellhold.ResumePolicy   `json:",omitempty"`
	Lifetime time.Duration           `json:",omitempty"`
	Action   cellhold.DeadlineAction `json:",omitempty"`
	Article  bool                    `json:",omitempty"`
	Public   bool                    `json:",omitempty"`
}

// forkParts has the parts of a request for a fork that its digest covers.
type forkParts struct {
	Parent     cellhold.SessionID
	Checkpoint string                  `json:",omitempty"`
	Lifetime   time.Duration           `json:",omitempty"`
	Action     cellhold.DeadlineAction `json:",omitempty"`
	Resume     cellhold.ResumePolicy   `json:",omitempty"`
}

// digest returns a digest that differs between two different requests. Without a key there is none.
func (q CreateRequest) digest() string {
	if q.Key == "" {
		return ""
	}
	p := createParts{User: q.User, Template: q.Template, Image: q.Image, Startup: q.Startup, Limits: q.Limits, Egress: q.Egress,
		Secrets: shownSecrets(q.Secrets), Figures: q.Figures, Meta: q.Meta, Env: q.Env, Dir: q.Dir, Resume: q.Resume, Article: q.Article, Public: q.PublicPorts}
	if q.Deadline != nil {
		p.Lifetime, p.Action = q.Deadline.Lifetime, q.Deadline.Action
	}
	return digestOf(p)
}

// forkDigest returns a digest that differs between two different requests for a fork.
func forkDigest(parent cellhold.SessionID, f terms.Fork) string {
	p := forkParts{Parent: parent, Checkpoint: f.Checkpoint, Resume: f.Resume}
	if f.Deadline != nil {
		p.Lifetime, p.Action = f.Deadline.Lifetime, f.Deadline.Action
	}
	return digestOf(p)
}

func digestOf(parts any) string {
	b, _ := json.Marshal(parts) // cannot fail: strings and numbers only
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
