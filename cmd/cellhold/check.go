package main

import (
	"fmt"
	"net/url"
	"strings"
)

// check returns an error if no request can match a value of --origin or --host.
func (a *access) check() error {
	for _, origin := range a.Origin {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			return fmt.Errorf("--origin: %q is not a web origin; use the form https://notes.example", origin)
		}
	}
	for _, host := range a.Host {
		if host == "" || strings.ContainsAny(host, "/: @") {
			return fmt.Errorf("--host: %q is not a host name; use the form cells.example, without a scheme or a port", host)
		}
	}
	return nil
}
