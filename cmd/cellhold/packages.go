package main

import (
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
	"strings"
	"time"
)

// packaging holds the settings of what may be installed in sessions, and from where.
type packaging struct {
	Packages       string        `help:"What callers may install in their sessions: off; allowlist, the packages of --package-allow only; hashes, files named by their hash only; open, all that the index has." enum:"off,allowlist,hashes,open" default:"open"`
	CodePackages   string        `help:"What code in sessions may install by pip and uv: off; allowlist, the packages of --package-allow only; callers, what callers may." enum:"off,allowlist,callers" default:"callers"`
	PackageAllow   []string      `help:"A package that may be installed where there is an allowlist, or the beginning of names and a '*'. What it needs must be allowed too." placeholder:"NAME"`
	PackageIndex   []string      `help:"URL of a package index's simple API; a package comes from the first that has it. Without it, what uv's and pip's own settings say." placeholder:"URL"`
	PackagePin     []string      `help:"Packages that come from one index and from no other, even when that lacks them." placeholder:"NAME=URL"`
	PackageFolder  string        `help:"Folder of wheels that is asked before the index." type:"path" placeholder:"DIR"`
	PackageOffline bool          `help:"Ask no index, only --package-folder."`
	PackageCA      string        `help:"Certificate authorities of the index, beside the system's." name:"package-ca" type:"path" placeholder:"FILE"`
	PackageSource  bool          `help:"Let packages without a wheel be built in the session; their build code runs there."`
	PackageTimeout time.Duration `help:"How long an installation may take." default:"5m"`
}

// open makes what installs packages. img is the image of sessions, whose pip knows the usual index.
func (p *packaging) open(img image.Image, log *slog.Logger) (*packages.Packages, error) {
	o := packages.Options{
		Policy: packages.Policy{Mode: packages.Mode(p.Packages), Allow: p.PackageAllow, Source: p.PackageSource},
		Code:   packages.CodeMode(p.CodePackages), Timeout: p.PackageTimeout, Logger: log,
	}
	if o.Policy.Mode == packages.Off {
		return packages.New(o)
	}
	tools := readTools(os.Environ(), os.ReadFile)
	sources, err := p.sources(tools, img)
	if err != nil {
		return nil, fmt.Errorf("packages: %w", err)
	}
	if len(sources) == 0 {
		o.NoIndex = "This server knows no package index. Name one with --package-index, or in pip's or uv's settings on the server."
		return packages.New(o)
	}
	roots, err := authorities(p.PackageCA, nil)
	if err != nil {
		return nil, fmt.Errorf("packages: %w", err)
	}
	if with, err := authorities(tools.authority, roots); err == nil {
		roots = with
	} else { // not our setting, and without it connections fail, which is safe
		log.Warn("pip's setting cert cannot be used", "err", err)
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

// sources are where packages come from, in the order in which they are asked.
func (p *packaging) sources(tools toolSettings, img image.Image) ([]index.Source, error) {
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
	if p.PackageOffline || tools.offline && len(p.PackageIndex) == 0 {
		return list, nil
	}
	indexes := p.PackageIndex
	if len(indexes) == 0 {
		indexes = append(tools.extra, cmp.Or(tools.main, usualIndex(img)))
	}
	for _, at := range indexes {
		if at == "" {
			continue // nobody knows a main one
		}
		u, err := url.Parse(at)
		if err != nil || u.Host == "" {
			return nil, errors.New("the URL of a package index is not one") // it may hold a password
		}
		list = append(list, index.Source{URL: u})
	}
	return list, nil
}

// authorities adds a bundle of certificates to roots, where nil means the system's. No file changes
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
		return roots, fmt.Errorf("certificate authorities: %s holds no certificate", file)
	}
	return roots, nil
}

// proxyFor is the proxy of a request: that of pip's settings, or else of the environment.
func (t toolSettings) proxyFor(r *http.Request) (*url.URL, error) {
	if t.proxy != nil {
		return t.proxy, nil
	}
	return http.ProxyFromEnvironment(r)
}
