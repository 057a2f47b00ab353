package terms

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/record"
)

// Cell has the terms of one cell.
type Cell struct {
	Kernel     cellhold.KernelID // empty: the first kernel
	Code       string
	Timeout    time.Duration     // 0: the server's default
	OnError    cellhold.OnError  // empty: continue
	AllowStdin bool              // the code can ask for input
	Figures    *cellhold.Figures // nil: the session's default
	Key        string            // a request with the same key returns the same cell; empty: no key
	Env        map[string]string `json:",omitempty"` // variables of this cell only; the digest of a request without them stays the same

	ID     cellhold.CellID `json:"-"` // empty: a new id
	Client *record.Request `json:"-"` // the parts of a Jupyter client's request; nil: none
}

// Check refuses invalid terms, and sets the default of OnError. longest is the maximum timeout.
func (c *Cell) Check(longest time.Duration) error {
	switch {
	case len(c.Code) > guestapi.MaxCode:
		return cellhold.Errorf(cellhold.Invalid, "The code has %d bytes; the limit is %d. Write data to files instead.", len(c.Code), guestapi.MaxCode)
	case c.Timeout < 0 || c.Timeout > longest:
		return cellhold.Errorf(cellhold.Invalid, "Invalid timeout %s: use 0 (the default) to %s.", c.Timeout, longest)
	case c.OnError != "" && c.OnError != cellhold.OnErrorContinue && c.OnError != cellhold.OnErrorCancel:
		return cellhold.Errorf(cellhold.Invalid, "Invalid on_error %.20q: use %q or %q.", c.OnError, cellhold.OnErrorContinue, cellhold.OnErrorCancel)
	}
	if c.OnError == cellhold.OnErrorContinue {
		c.OnError = ""
	}
	if err := checkClient(c.Client); err != nil {
		return err
	}
	if err := CheckKey(c.Key); err != nil {
		return err
	}
	return CheckEnv(c.Env)
}

// checkClient refuses parts of a client's request that are too large.
func checkClient(r *record.Request) error {
	switch {
	case r == nil:
		return nil
	case len(r.Header) > guestapi.MaxClientHeader:
		return cellhold.Errorf(cellhold.Exhausted, "The header of the execute_request has %d bytes; the limit is %d bytes.", len(r.Header), guestapi.MaxClientHeader)
	case len(r.Metadata) > guestapi.MaxClientPart:
		return cellhold.Errorf(cellhold.Exhausted, "The metadata of the execute_request has %d bytes; the limit is %d bytes.", len(r.Metadata), guestapi.MaxClientPart)
	case len(r.UserExpressions) > guestapi.MaxClientPart:
		return cellhold.Errorf(cellhold.Exhausted, "The user_expressions have %d bytes; the limit is %d bytes.", len(r.UserExpressions), guestapi.MaxClientPart)
	}
	return nil
}

// Digest returns a digest that differs between two different cells. It covers the terms as the caller sent them,
// without the server's defaults, which can change with a restart.
func (c Cell) Digest() string {
	c.Key = ""
	b, _ := json.Marshal(c) // cannot fail: strings and numbers only
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
