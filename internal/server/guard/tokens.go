package guard

import (
	"bufio"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"cellhold/internal/lazy"
)

const (
	// tokenBytes is the number of random bytes of a token. 256 bits cannot be guessed.
	tokenBytes = 32
	// minToken is the minimum length of a token in a file. People can choose tokens, and must not choose a
	// guessable one. 32 characters of base 64 are 192 bits.
	minToken = 32
	// maxTokenFile is the maximum size of the file: some thousand tokens.
	maxTokenFile = 1 << 20
	// firstToken is the name of the token that is created at the first start.
	firstToken = "default"
)

// tokenName matches the names of tokens. They appear in records and logs.
var tokenName = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Tokens has the names of the known callers and the digests of their tokens.
type Tokens struct {
	names   []string
	digests [][sha256.Size]byte
	first   string
}

// LoadTokens reads the tokens of a file with one "name token" per line. If the file does not exist, LoadTokens first
// creates it with one random token. It refuses a file that other users can read, because they could have read the
// tokens.
func LoadTokens(path string) (*Tokens, error) {
	if err := makeTokens(path); err != nil {
		return nil, fmt.Errorf("create token file %s: %w", path, err)
	}
	// Without O_NOFOLLOW, an attacker's link could make the server read another file as its tokens.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	defer f.Close()
	if err := checkPrivate(f); err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	t, err := parseTokens(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	return t, nil
}

// NewTokens returns one random token, which is in no file.
func NewTokens() *Tokens {
	t := &Tokens{}
	if err := t.add(firstToken, newToken()); err != nil {
		panic(err) // a new token keeps the rules
	}
	return t
}

// GivenToken returns one token that the operator chose. It is in no file.
func GivenToken(token string) (*Tokens, error) {
	t := &Tokens{}
	if strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, errors.New("the token has a space or an unprintable character: give one token without a name")
	}
	return t, t.add(firstToken, token)
}

// newToken returns a random token.
func newToken() string {
	secret := make([]byte, tokenBytes)
	rand.Read(secret) // never returns an error: it ends the program instead
	return hex.EncodeToString(secret)
}

// First returns the name and the token of the file's first line, for the operator.
func (t *Tokens) First() (name, token string) { return t.names[0], t.first }

// Caller returns the name of a token. It returns false for an unknown token.
func (t *Tokens) Caller(token string) (name string, known bool) { return t.caller(token) }

// Key returns a key that belongs to a caller's token, for codes that end with the token. It returns false if there is
// no such caller.
func (t *Tokens) Key(name string) (key []byte, known bool) {
	i := slices.Index(t.names, name)
	if i < 0 {
		return nil, false
	}
	mac := hmac.New(sha256.New, t.digests[i][:])
	mac.Write([]byte("cellhold derived key"))
	return mac.Sum(nil), true
}

// caller returns the name of a token. It compares all tokens, each in constant time, so that the duration
// tells nothing about the tokens.
func (t *Tokens) caller(token string) (string, bool) {
	given := sha256.Sum256([]byte(token))
	found := -1
	for i := range t.digests {
		if subtle.ConstantTimeCompare(given[:], t.digests[i][:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return "", false
	}
	return t.names[found], true
}

// makeTokens writes a file with one token if there is no file. The file appears with its content in one step,
// so that two servers that start at the same time read the same token.
func makeTokens(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".token-*") // CreateTemp gives mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintf(f, "%s %s\n", firstToken, newToken())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// checkPrivate refuses a file that users other than this one and root could have read or written.
func checkPrivate(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file: use a regular file of your own")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("mode %04o lets other users read it: replace the tokens, then run chmod 600", mode)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("owner is uid %d, not uid %d or root: change the owner", st.Uid, os.Geteuid())
	}
	return nil
}

func parseTokens(r io.Reader) (*Tokens, error) {
	t := &Tokens{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("line %d has %d words: write \"name token\"", n, len(fields))
		}
		if err := t.add(fields[0], fields[1]); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(t.names) == 0 {
		return nil, errors.New("no token in the file: add a line \"name token\", or delete the file to get a new one")
	}
	return t, nil
}

func (t *Tokens) add(name, token string) error {
	if !tokenName().MatchString(name) {
		return errors.New("invalid name: use 1 to 64 letters, digits, dots, dashes and underscores")
	}
	if len(token) < minToken {
		return fmt.Errorf("the token has %d characters: use at least %d", len(token), minToken)
	}
	digest := sha256.Sum256([]byte(token))
	for i := range t.names {
		if t.names[i] == name || t.digests[i] == digest {
			return fmt.Errorf("%s: the name or the token is on two lines: remove one", name)
		}
	}
	if len(t.names) == 0 {
		t.first = token
	}
	t.names = append(t.names, name)
	t.digests = append(t.digests, digest)
	return nil
}
