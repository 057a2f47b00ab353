package access

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/session"
)

// sandboxes has sessions that no request can use, and counts the work for a request.
type sandboxes struct {
	finds, keys int
	lists       []bool // for each list: whether it waited
}

func (s *sandboxes) access() *Access {
	return New(Options{
		Find: func(context.Context, cellhold.SessionID) (*session.Session, bool) {
			s.finds++
			return new(session.Session), true
		},
		All: func(ctx context.Context) []*session.Session {
			s.lists = append(s.lists, ctx.Err() == nil)
			return []*session.Session{new(session.Session)}
		},
		Key: func(string) ([]byte, bool) {
			s.keys++
			return nil, true
		},
	})
}

// signedBy returns the query of a signed URL.
func signedBy(token, path, until string) url.Values {
	text, q := path+":read::"+token, url.Values{"path": {path}}
	if until != "" {
		text += ":" + until
		q.Set(expirationParam, until)
	}
	sum := sha256.Sum256([]byte(text))
	q.Set(signatureParam, signaturePrefix+base64.RawStdEncoding.EncodeToString(sum[:]))
	return q
}

func TestASignatureThatNoServerMadeCostsNoWork(t *testing.T) {
	good := signedBy("t", "/f", "").Get(signatureParam)
	for name, q := range map[string]url.Values{
		"short": {signatureParam: {good[:len(good)-1]}}, "long": {signatureParam: {good + "A"}}, "padded": {signatureParam: {good + "="}},
		"of another version": {signatureParam: {"v2_" + good[3:]}}, "not base64": {signatureParam: {good[:len(good)-1] + "!"}}, "empty": {signatureParam: {""}},
		"with a long path": {signatureParam: {good}, "path": {strings.Repeat("x", maxPath+1)}},
		"with a long user": {signatureParam: {good}, "username": {strings.Repeat("x", maxUser+1)}},
		"with a long time": {signatureParam: {good}, expirationParam: {strings.Repeat("1", maxTime+1)}},
	} {
		var s sandboxes
		r := httptest.NewRequest("GET", "/files?"+q.Encode(), nil)
		if got, _ := s.access().Signed(r, "read"); got != nil || !IsSigned(r) || len(s.lists)+s.finds+s.keys > 0 {
			t.Errorf("a signature that is %s: got %v after %d lists, %d searches and %d keys, want none of these", name, got, len(s.lists), s.finds, s.keys)
		}
	}
}

func TestASignatureIsComparedOnlyWithUsableSandboxes(t *testing.T) {
	var s sandboxes
	s.access().Signed(httptest.NewRequest("GET", "/files?"+signedBy("t", "/f", "").Encode(), nil), "read")
	if s.keys != 0 || len(s.lists) != 2 || s.lists[0] || !s.lists[1] {
		t.Errorf("got %d keys and the lists %v, want no key, and a list that waits only after one that does not", s.keys, s.lists)
	}
}

func TestASignedRequestThatNamesItsSandboxLooksAtNoOther(t *testing.T) {
	var s sandboxes
	r := httptest.NewRequest("GET", "/files?"+signedBy("t", "/f", "").Encode(), nil)
	r.Header.Set(sandboxHeader, "s1")
	s.access().Signed(r, "read")
	if s.finds != 1 || len(s.lists) != 0 {
		t.Errorf("got %d searches and %d lists, want only one search", s.finds, len(s.lists))
	}
}

func TestASignatureCoversThePathTheOperationAndTheTime(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, test := range map[string]struct {
		q         url.Values
		token, op string
		by, over  bool
	}{
		"right":             {signedBy("t", "/f", ""), "t", "read", true, false},
		"right with a time": {signedBy("t", "/f", "1000"), "t", "read", true, false},
		"too old":           {signedBy("t", "/f", "999"), "t", "read", true, true},
		"strange time":      {signedBy("t", "/f", "x"), "t", "read", true, true},
		"another token":     {signedBy("t", "/f", ""), "u", "read", false, false},
		"no token":          {signedBy("", "/f", ""), "", "read", false, false},
		"another operation": {signedBy("t", "/f", ""), "t", "write", false, false},
	} {
		g, ok := signatureOf(test.q, test.op)
		if !ok || g.isBy(test.token) != test.by || g.isBy(test.token) != test.by || g.isOver(now) != test.over {
			t.Errorf("%s: got form %t, by the token %t, over %t; want true, %t, %t", name, ok, g.isBy(test.token), g.isOver(now), test.by, test.over)
		}
	}
}
