package guard

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"cellhold/internal/lazy"
)

const (
	// tokenBytes of randomness make a token: nobody guesses 256 bits.
	tokenBytes = 32
	// minToken is the shortest token that a file may hold: a person who chooses one by hand must
	// not be able to choose a guessable one. 32 characters of base 64 are 192 bits.
	minToken = 32
	// maxTokenFile bounds the file: some thousand tokens, and no disk image given by mistake.
	maxTokenFile = 1 << 20
	// firstToken is the name of the token that is made at first start.
	firstToken = "default"
)

// tokenName is what the owner of sessions may be called; names end up in records and logs.
var tokenName = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Tokens are the callers that a server knows, by the digest of their tokens.
type Tokens struct {
	names   []string
	digests [][sha256.Size]byte
	first   string
}

// LoadTokens reads the tokens of a file with one "name token" a line. A file that does not exist
// is made first, with one random token. A file that others can read is refused, because others
// may have read it.
func LoadTokens(path string) (*Tokens, error) {
	if err := makeTokens(path); err != nil {
		return nil, fmt.Errorf("make token file %s: %w", path, err)
	}
	// Without O_NOFOLLOW a link put here could make the server check one file and read another.
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

// First returns the name and the token of the file's first line, for the operator's own use.
func (t *Tokens) First() (name, token string) { return t.names[0], t.first }

// caller returns the name that belongs to a token. All tokens are compared, each in constant
// time, so that the time taken tells nothing about any of them.
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

// makeTokens writes a file with one token unless there is a file. It appears with its content or
// not at all, so that two servers that start at once read the same token.
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
	secret := make([]byte, tokenBytes)
	rand.Read(secret) // never fails: it ends the program rather than return weak bytes
	_, err = fmt.Fprintf(f, "%s %s\n", firstToken, hex.EncodeToString(secret))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// checkPrivate refuses what somebody other than this user or root could have written or read.
func checkPrivate(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("has mode %04o, so that others may have read it: replace its tokens, then chmod 600", mode)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to uid %d", st.Uid)
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
			return nil, fmt.Errorf("line %d is not \"name token\"", n)
		}
		if err := t.add(fields[0], fields[1]); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(t.names) == 0 {
		return nil, errors.New("holds no token")
	}
	return t, nil
}

func (t *Tokens) add(name, token string) error {
	if !tokenName().MatchString(name) {
		return errors.New("a name is 1 to 64 letters, digits, dots, dashes and underscores")
	}
	if len(token) < minToken {
		return fmt.Errorf("a token has at least %d characters", minToken)
	}
	digest := sha256.Sum256([]byte(token))
	for i := range t.names {
		if t.names[i] == name || t.digests[i] == digest {
			return fmt.Errorf("%s is there twice", name)
		}
	}
	if len(t.names) == 0 {
		t.first = token
	}
	t.names = append(t.names, name)
	t.digests = append(t.digests, digest)
	return nil
}
