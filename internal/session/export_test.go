package session

import "cellhold/internal/packages"

// AskAsCode makes the code of a session ask for the packages of those numbers, one after the other.
func (s *Session) AskAsCode(p *packages.Packages, from, to int) error {
	return s.askAsCode(p, from, to)
}
