package main

import (
	"fmt"
	"net/url"
	"strings"
)

// check checks the form of --origin and --host. Each --origin must be a web origin as browsers send it. Each --host
// must be a host name.
func (a *access) check() error {
	for _, origin := range a.Origin {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			return fmt.Errorf("--origin: %q is not a web origin; use the form https://notes.example", origin)
		}
		if sent := asSent(u); sent != origin {
			return fmt.Errorf("--origin: browsers send %q as %q; use this form", origin, sent)
		}
	}
	for _, host := range a.Host {
		if host == "" || strings.ContainsAny(host, "/: @") {
			return fmt.Errorf("--host: %q is not a host name; use the form cells.example, without a scheme or a port", host)
		}
	}
	return nil
}

// asSent returns an origin as browsers send it: in lower case, and without the default port of its scheme
// (WHATWG HTML, "serialization of an origin"). It does not convert names with non-ASCII letters.
func asSent(u *url.URL) string {
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	return u.Scheme + "://" + strings.TrimSuffix(strings.ToLower(u.Host), port)
}
