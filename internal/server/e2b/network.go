package e2b

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"cellhold"
)

// network is the network access of a sandbox in a request.
type network struct {
	AllowOut    []string        `json:"allowOut"`
	DenyOut     []string        `json:"denyOut"`
	Rules       json.RawMessage `json:"rules"`
	EgressProxy json.RawMessage `json:"egressProxy"`
	MaskHost    json.RawMessage `json:"maskRequestHost"`
	HTTPSPorts  json.RawMessage `json:"httpsPorts"`
	Public      *bool           `json:"allowPublicTraffic"`
}

// isPublic reports whether a sandbox gets public ports. If the request does not say, only the operator can decide so.
func (n *network) isPublic(allowed cellhold.PublicPorts) bool {
	if n == nil || n.Public == nil {
		return allowed == cellhold.PortsAlways
	}
	return *n.Public
}

// allTraffic are the addresses that mean every host.
var allTraffic = []string{"0.0.0.0/0", "::/0"}

// egress translates the requested network access. It returns nil for the server's default.
func (q *newSandbox) egress() (*cellhold.Egress, error) {
	n := q.Network
	if n == nil {
		n = &network{}
	}
	if isSet(n.Rules) || isSet(n.EgressProxy) || isSet(n.MaskHost) || isSet(n.HTTPSPorts) {
		return nil, cellhold.Errorf(cellhold.Unsupported, "This server knows only allowOut with host names, and denyOut with all traffic: omit rules, egressProxy, maskRequestHost and httpsPorts.")
	}
	denied := q.InternetAccess != nil && !*q.InternetAccess
	for _, host := range n.DenyOut {
		if !slices.Contains(allTraffic, host) {
			return nil, cellhold.Errorf(cellhold.Unsupported, "denyOut can only deny all traffic (0.0.0.0/0), not %.100q: list the allowed hosts in allowOut.", host)
		}
		denied = true
	}
	hosts, all := []string{}, false
	for _, host := range n.AllowOut {
		if slices.Contains(allTraffic, host) {
			all = true
			continue
		}
		if isAddress(host) {
			return nil, cellhold.Errorf(cellhold.Unsupported, "allowOut can only have host names, not the address %.100q.", host)
		}
		hosts = append(hosts, host)
	}
	switch {
	case all:
		return &cellhold.Egress{Policy: cellhold.EgressPublic}, nil
	case len(hosts) > 0:
		return &cellhold.Egress{Policy: cellhold.EgressAllowlist, Hosts: hosts}, nil
	case denied:
		return &cellhold.Egress{Policy: cellhold.EgressNone}, nil
	case q.InternetAccess != nil:
		return &cellhold.Egress{Policy: cellhold.EgressPublic}, nil
	}
	return nil, nil
}

func isAddress(host string) bool {
	if _, err := netip.ParsePrefix(host); err == nil {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// shownNetwork is the network access of a sandbox in an answer.
type shownNetwork struct {
	AllowOut           []string `json:"allowOut,omitempty"`
	DenyOut            []string `json:"denyOut,omitempty"`
	AllowPublicTraffic bool     `json:"allowPublicTraffic"`
}

func shown(e cellhold.Egress) (n shownNetwork, internet bool) {
	switch e.Policy {
	case cellhold.EgressPublic:
		return n, true
	case cellhold.EgressAllowlist:
		return shownNetwork{AllowOut: e.Hosts, DenyOut: allTraffic[:1]}, true
	}
	return shownNetwork{DenyOut: allTraffic[:1]}, false
}
