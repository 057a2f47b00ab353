package guestapi

// The route of connections to ports of the sandbox. It continues the list in guestapi.go:
//
//	POST   /v1/ports/{port}                → 101; from here on the connection belongs to the program that
//	                                       listens on the port; bytes flow in both directions, and each
//	                                       direction ends on its own
//
// The agent dials only the loopback of the sandbox. It answers 404 if no program listens on the port, and 413 above
// MaxPortConns. It answers 400 if the port is not a number from 1 to 65535, or belongs to an egress proxy.

const (
	// MaxPort is the largest number of a port.
	MaxPort = 65535
	// MaxPortConns is the limit of connections to the ports of one sandbox at the same time. The host has a lower limit,
	// so that connections that are ending in the guest refuse no new ones.
	MaxPortConns = 128
)

// PortUpgrade is the protocol of a connection to a port.
const PortUpgrade = "cellhold-port"
