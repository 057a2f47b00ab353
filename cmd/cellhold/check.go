package main

import (
	"fmt"
	"net/url"
	"strings"
)

// check refuses 0 for flags where the packages below would silently use a default of their own.
func (l *lifetimes) check() error {
	for _, x := range []struct {
		flag string
		zero bool
	}{
		{"cell-timeout", l.CellTimeout == 0}, {"max-cell-timeout", l.MaxCellTimeout == 0},
		{"max-sessions", l.MaxSessions == 0}, {"max-checkpoints", l.MaxCheckpoints == 0}, {"max-snapshots", l.MaxSnapshots == 0},
		{"max-upload", l.MaxUpload == 0}, {"idle-timeout", l.IdleTimeout == 0}, {"retention", l.Retention == 0},
	} {
		if x.zero {
			return fmt.Errorf("--%s must not be 0; give a value greater than 0", x.flag)
		}
	}
	return nil
}

// check refuses values that no request can match.
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
