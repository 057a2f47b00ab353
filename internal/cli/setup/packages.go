package setup

import (
	"cellhold/internal/cli/console"
	"cellhold/internal/image"
	"cellhold/internal/packages"
	"cellhold/internal/packages/index"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// PackageSettings holds the settings of package installation: the allowed packages and their sources.
type PackageSettings struct {
	Packages       string        `help:"Packages that callers can install in their sessions: off, allowlist (those of --package-allow), hashes (files with a given hash) or open (all of the index)." enum:"off,allowlist,hashes,open" default:"open"`
	CodePackages   string        `help:"Packages that code in sessions can install with pip and uv: off, allowlist (those of --package-allow) or callers (those that callers can install)." enum:"off,allowlist,callers" default:"callers"`
	PackageAllow   []string      `help:"Package of the allowlist: a name, or a prefix with '*'. Its dependencies must be allowed too." placeholder:"NAME"`
	PackageIndex   []string      `help:"URL of a package index (simple API). The first index that has a package provides it. Default: the settings of uv and pip." placeholder:"URL"`
	PackagePin     []string      `help:"Package that only this index provides, even if the index does not have it." placeholder:"NAME=URL"`
	PackageFolder  string        `help:"Folder of wheels, searched before the indexes." type:"path" placeholder:"DIR"`
	PackageOffline bool          `help:"Use only --package-folder and no index."`
	PackageCA      string        `help:"CA certificates trusted for package indexes, added to the system's." name:"package-ca" type:"path" placeholder:"FILE"`
	PackageSource  bool          `help:"Build packages that have no wheel. Their build code runs in the session."`
	PackageTimeout time.Duration `help:"Time limit of an installation. 0: default (5m)." default:"5m"`
}

// Open returns the installer of packages. img is the image of sessions; its pip names the default index. environ has settings of uv and pip.
func (p *PackageSettings) Open(img image.Image, environ []string, log *slog.Logger) (*packages.Packages, error) {
	o := packages.Options{
		Policy: packages.Policy{Mode: packages.Mode(p.Packages), Allow: p.PackageAllow, Source: p.PackageSource},
		Code:   packages.CodeMode(p.CodePackages), Timeout: p.PackageTimeout, Logger: log,
	}
	if o.Policy.Mode == packages.Off {
		return packages.New(o)
	}
	tools := readTools(environ, os.ReadFile)
	sources, err := p.sources(tools, img)
	if err != nil {
		return nil, console.Usage(fmt.Errorf("packages: %w", err))
	}
	if len(sources) == 0 {
		o.NoIndex = "The server has no package index. Set one with --package-index, or in the settings of pip or uv on the host."
		return packages.New(o)
	}
	roots, err := authorities(p.PackageCA, nil)
	if err != nil {
		return nil, fmt.Errorf("packages: %w", err)
	}
	if with, err := authorities(tools.authority, roots); err == nil {
		roots = with
	} else { // without these certificates, connections to the index fail, which is safe
		log.Warn("cannot use pip's setting cert", "err", err)
	}
	var hosts []string
	for _, s := range sources {
		if s.URL != nil {
			hosts = append(hosts, s.URL.Hostname())
		}
	}
	o.Index, err = index.New(index.Options{Sources: sources, HTTP: index.Transport(hosts, tools.proxyFor, roots), Logger: log})
	if err != nil {
		return nil, err
	}
	return packages.New(o)
}

// sources returns the package sources in the order in which they are searched:
//
//	source   from the flag      otherwise, from the settings of uv and pip
//	pins     --package-pin      none
//	folder   --package-folder   find-links, if pip's no-index is set
//	indexes  see indexes
func (p *PackageSettings) sources(tools toolSettings, img image.Image) ([]index.Source, error) {
	var list []index.Source
	for _, pin := range p.PackagePin {
		name, at, ok := strings.Cut(pin, "=")
		u, err := url.Parse(at)
		if !ok || name == "" || err != nil {
			return nil, fmt.Errorf("--package-pin %q is not NAME=URL", name)
		}
		list = append(list, index.Source{URL: u, Only: func(project string) bool { return packages.Matches(name, project) }})
	}
	folder := p.PackageFolder
	if folder == "" && tools.offline {
		folder = tools.folder
	}
	if folder != "" {
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("there is no folder of packages %s", folder)
		}
		list = append(list, index.Source{Folder: folder})
	}
	if p.PackageOffline && folder == "" {
		return nil, errors.New("--package-offline needs --package-folder")
	}
	for _, at := range p.indexes(tools, img) {
		if at == "" {
			continue // no setting names a main index
		}
		u, err := url.Parse(at)
		if err != nil || u.Host == "" {
			return nil, errors.New("the URL of a package index is not valid") // the URL may contain a password
		}
		list = append(list, index.Source{URL: u})
	}
	return list, nil
}

// indexes returns the URLs of the package indexes. The first case that applies decides.
func (p *PackageSettings) indexes(tools toolSettings, img image.Image) []string {
	switch {
	case p.PackageOffline:
		return nil
	case len(p.PackageIndex) > 0:
		return p.PackageIndex
	case tools.offline:
		return nil
	}
	return append(slices.Clone(tools.extra), cmp.Or(tools.main, usualIndex(img)))
}

// authorities adds the certificates of a file to roots. nil roots mean the system's. An empty file name changes
// nothing.
func authorities(file string, roots *x509.CertPool) (*x509.CertPool, error) {
	if file == "" {
		return roots, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return roots, fmt.Errorf("certificate authorities: %w", err)
	}
	if roots == nil {
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
	}
	if !roots.AppendCertsFromPEM(text) {
		return roots, fmt.Errorf("certificate authorities: %s contains no certificate", file)
	}
	return roots, nil
}

// proxyFor returns the proxy of a request: the one of pip's settings, or that of the environment.
func (t toolSettings) proxyFor(r *http.Request) (*url.URL, error) {
	if t.proxy != nil {
		return t.proxy, nil
	}
	return http.ProxyFromEnvironment(r)
}
