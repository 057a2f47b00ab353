package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// The parameters of a signed URL.
const (
	signatureParam  = "signature"
	expirationParam = "signature_expiration"
)

const (
	// signaturePrefix begins each signature. The base64 text of a hash without padding follows.
	signaturePrefix = "v1_"
	// maxPath, maxUser and maxTime are the maximum lengths of the parameters that a signature covers.
	maxPath = 4095
	maxUser = 64
	maxTime = 20
)

// IsSigned reports whether the URL of a request has a signature.
func IsSigned(r *http.Request) bool { return r.URL.Query().Has(signatureParam) }

// Signed returns the sandbox whose token signed the URL of a request, and sets the caller. A signed URL does not name
// its sandbox, so Signed compares the signature with those of all sandboxes, unless a header or the host names one. expired
// reports that the signature is right but too old.
func (a *Access) Signed(r *http.Request, operation string) (s *session.Session, expired bool) {
	given, ok := signatureOf(r.URL.Query(), operation)
	if !ok {
		return nil, false
	}
	for candidate := range a.candidates(r) {
		rec := candidate.Record()
		if !usable(candidate) || !given.isBy(a.token(rec.Owner, rec.ID, envd)) {
			continue
		}
		if given.isOver(time.Now()) {
			return nil, true
		}
		exchange.SetCaller(r.Context(), rec.Owner)
		return candidate, false
	}
	return nil, false
}

// candidates yields the sandboxes whose token can have signed the URL of a request. The sandboxes that are ready come
// first, so a sandbox that does not answer after a restart of the server holds up no request for the others.
func (a *Access) candidates(r *http.Request) iter.Seq[*session.Session] {
	return func(yield func(*session.Session) bool) {
		if s, id := a.Target(r); id != "" {
			if s != nil {
				yield(s)
			}
			return
		}
		over, cancel := context.WithCancel(r.Context())
		cancel()
		ready := a.o.All(over)
		for _, s := range ready {
			if !yield(s) {
				return
			}
		}
		all := a.o.All(r.Context())
		for i := 0; len(all) != len(ready) && i < len(all); i++ {
			if !yield(all[i]) {
				return
			}
		}
	}
}

// signature is the signature of a URL, and what it covers.
type signature struct {
	hash  []byte
	begin hash.Cloner // the hash of the text before the token, which is the same for all sandboxes
	until string      // the expiration in Unix seconds; "" if there is none
}

// signatureOf returns the signature of a URL. It returns false if no server made it: anyone can send a signed URL, and its
// check costs time for each sandbox.
func signatureOf(q url.Values, operation string) (signature, bool) {
	path, user, until, given := q.Get("path"), q.Get("username"), q.Get(expirationParam), q.Get(signatureParam)
	if len(path) > maxPath || len(user) > maxUser || len(until) > maxTime || len(given) < len(signaturePrefix) || given[:len(signaturePrefix)] != signaturePrefix {
		return signature{}, false
	}
	sum, err := base64.RawStdEncoding.Strict().DecodeString(given[len(signaturePrefix):])
	begin, ok := sha256.New().(hash.Cloner)
	if err != nil || len(sum) != sha256.Size || !ok {
		return signature{}, false
	}
	begin.Write([]byte(path + ":" + operation + ":" + user + ":"))
	return signature{sum, begin, until}, true
}

// isBy reports whether a token made the signature.
func (g signature) isBy(token string) bool {
	h, err := g.begin.Clone()
	if err != nil || token == "" {
		return false
	}
	end := ""
	if g.until != "" {
		end = ":" + g.until
	}
	h.Write([]byte(token + end))
	return hmac.Equal(g.hash, h.Sum(nil))
}

// isOver reports whether the signature has expired.
func (g signature) isOver(now time.Time) bool {
	at, err := strconv.ParseInt(g.until, 10, 64)
	return g.until != "" && (err != nil || now.Unix() > at)
}
