package main

import (
	"fmt"
	"net/url"
	"strings"
)

// check refuses a zero where the rooms have a default of their own for it: who says 0 means none, or for
// ever, and would get neither.
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
			return fmt.Errorf("--%s cannot be 0", x.flag)
		}
	}
	return nil
}

// check refuses names that no request could bear.
func (a *access) check() error {
	for _, origin := range a.Origin {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			return fmt.Errorf("--origin: %q is no web origin; write it like https://notes.example", origin)
		}
	}
	for _, host := range a.Host {
		if host == "" || strings.ContainsAny(host, "/: @") {
			return fmt.Errorf("--host: %q is no name; write it like cells.example, without a scheme or a port", host)
		}
	}
	return nil
}
