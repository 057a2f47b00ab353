package egress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/lazy"
)

// Limits of the secrets of one session.
const (
	maxSecrets = 32
	// maxValue leaves space for other headers: servers accept at least 8 KiB.
	maxValue = 4 << 10
	// placeholderMark begins every placeholder, so that people recognise it.
	placeholderMark = "cellhold-secret-"
)

// Certificates are valid from an hour before they are made, to allow for a wrong clock. The authority's certificate
// is valid for two years, longer than almost every session. The certificates of the hosts are renewed regularly.
const (
	clockSkew     = time.Hour
	authorityLife = 2 * 365 * 24 * time.Hour
	leafLife      = 7 * 24 * time.Hour
)

var secretName = lazy.Regexp(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// Vault holds the secrets of one session, and the certificate authority that signs for their hosts. The authority's
// key never leaves the server. The server sends a value only to the host of the secret, and never into the sandbox.
type Vault struct {
	secrets []secret
	hosts   map[Host]bool
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves map[Host]*tls.Certificate
}

// secret is one value and its placeholder in the guest. Its fields are stored on disk.
type secret struct {
	Name        string `json:"name"`
	Host        string `json:"host"`
	Placeholder string `json:"placeholder"`
	Value       string `json:"value"`
	host        Host
}

// onDisk is the stored form of a vault.
type onDisk struct {
	Secrets []secret `json:"secrets"`
	Cert    []byte   `json:"cert"` // DER
	Key     []byte   `json:"key"`  // PKCS 8
}

// NewVault checks secrets and returns a vault, or nil if there are none. Each secret must belong to one host that the policy
// allows.
func NewVault(p Policy, list []cellhold.Secret) (*Vault, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > maxSecrets {
		return nil, cellhold.Errorf(cellhold.Invalid, "The session has %d secrets; the limit is %d.", len(list), maxSecrets)
	}
	v := &Vault{}
	for _, s := range list {
		if err := v.add(p, s); err != nil {
			return nil, err
		}
	}
	if err := v.makeAuthority(); err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	return v, v.index()
}

func (v *Vault) add(p Policy, s cellhold.Secret) error {
	if !secretName().MatchString(s.Name) {
		return cellhold.Errorf(cellhold.Invalid, "Invalid secret name %.80q: use a valid name of an environment variable.", s.Name)
	}
	for _, other := range v.secrets {
		if other.Name == s.Name {
			return cellhold.Errorf(cellhold.Invalid, "Two secrets have the name %s. Rename one of them.", s.Name)
		}
	}
	h, err := ParseHost(s.Host)
	if err != nil || h.name == "" {
		return cellhold.Errorf(cellhold.Invalid, "Invalid host %.80q of the secret %s: use one host name, such as api.example.org.", s.Host, s.Name)
	}
	if _, ok := p.Allows(h); !ok {
		return cellhold.Errorf(cellhold.Invalid, "The secret %s belongs to %s, which the session cannot reach. Allow the host in the session's egress.", s.Name, h)
	}
	if s.Value == "" || len(s.Value) > maxValue || strings.TrimSpace(s.Value) != s.Value ||
		strings.ContainsFunc(s.Value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return cellhold.Errorf(cellhold.Invalid, "The value of the secret %s must be 1 to %d printable ASCII characters, without leading or trailing spaces.", s.Name, maxValue)
	}
	v.secrets = append(v.secrets, secret{Name: s.Name, Host: h.String(), Placeholder: placeholderMark + strings.ToLower(rand.Text()), Value: s.Value})
	return nil
}

// makeAuthority creates a key and its certificate. The certificate is valid only for the hosts of the secrets, so programs
// trust it for no other host.
func (v *Vault) makeAuthority() error {
	var err error
	if v.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "cellhold, for one session"},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true,
	}
	for _, s := range v.secrets {
		template.PermittedDNSDomains = append(template.PermittedDNSDomains, s.Host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, v.key.Public(), v.key)
	if err != nil {
		return err
	}
	v.cert, err = x509.ParseCertificate(der)
	return err
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, by its own documentation
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

// index fills the maps of the vault.
func (v *Vault) index() error {
	v.hosts, v.leaves = map[Host]bool{}, map[Host]*tls.Certificate{}
	for i := range v.secrets {
		h, err := ParseHost(v.secrets[i].Host)
		if err != nil {
			return err
		}
		v.secrets[i].host = h
		v.hosts[h] = true
	}
	return nil
}

// Seal returns the stored form of the vault. It contains the secrets.
func (v *Vault) Seal() ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	key, err := x509.MarshalPKCS8PrivateKey(v.key)
	if err != nil {
		return nil, err
	}
	return json.Marshal(onDisk{Secrets: v.secrets, Cert: v.cert.Raw, Key: key})
}

// Unseal reads the result of Seal. Empty input gives no vault.
func Unseal(b []byte) (*Vault, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var d onDisk
	if json.Unmarshal(b, &d) != nil { // the error would quote a part of a secret
		return nil, errors.New("the recorded secrets are damaged")
	}
	key, err := x509.ParsePKCS8PrivateKey(d.Key)
	if err != nil {
		return nil, errors.New("the recorded key is damaged")
	}
	v := &Vault{secrets: d.Secrets}
	var ok bool
	if v.key, ok = key.(*ecdsa.PrivateKey); !ok {
		return nil, errors.New("the recorded key is damaged")
	}
	if v.cert, err = x509.ParseCertificate(d.Cert); err != nil {
		return nil, fmt.Errorf("the recorded certificate is damaged: %w", err)
	}
	return v, v.index()
}

// Environment returns the variables for the guest: a placeholder for each secret.
func (v *Vault) Environment() map[string]string {
	if v == nil {
		return nil
	}
	env := map[string]string{}
	for _, s := range v.secrets {
		env[s.Name] = s.Placeholder
	}
	return env
}

// Trust returns the authority's certificate as PEM, for the guest to trust.
func (v *Vault) Trust() string {
	if v == nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.cert.Raw}))
}

// has reports whether a host has secrets.
func (v *Vault) has(h Host) bool { return v != nil && v.hosts[h] }

// leaf returns a certificate for a host that has secrets.
func (v *Vault) leaf(h Host) (*tls.Certificate, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if c := v.leaves[h]; c != nil && now.Before(c.Leaf.NotAfter.Add(-leafLife/2)) {
		return c, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: firstBytes(h.name, 64)}, DNSNames: []string{h.name},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, v.cert, key.Public(), v.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}
	v.leaves[h] = c
	return c, nil
}

func firstBytes(s string, n int) string { return s[:min(len(s), n)] }

// reveal replaces the placeholders of a host's secrets in a header value by their values, also inside Basic authentication.
func (v *Vault) reveal(h Host, value string) string {
	if encoded, ok := strings.CutPrefix(value, "Basic "); ok {
		if plain, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			if shown := v.replace(h, string(plain)); shown != string(plain) {
				return "Basic " + base64.StdEncoding.EncodeToString([]byte(shown))
			}
		}
	}
	return v.replace(h, value)
}

func (v *Vault) replace(h Host, text string) string {
	if !strings.Contains(text, placeholderMark) {
		return text
	}
	for _, s := range v.secrets {
		if s.host == h {
			text = strings.ReplaceAll(text, s.Placeholder, s.Value)
		}
	}
	return text
}
