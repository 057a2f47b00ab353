package cellhold

// PublicPorts says which sessions can have ports that everybody can reach, through hosts of the server and without a
// token. The zero value means none.
type PublicPorts string

// The values, from the strictest one.
const (
	PortsNever  PublicPorts = "never"  // no session
	PortsAsked  PublicPorts = "asked"  // sessions whose creation asks for it
	PortsAlways PublicPorts = "always" // the same, and sandboxes of E2B's SDKs whose creation does not say
)

// Allowed reports whether a session can have public ports.
func (p PublicPorts) Allowed() bool { return p == PortsAsked || p == PortsAlways }

// PortAccess describes how programs reach the ports of a session.
type PortAccess struct {
	Path   string   `json:"path" doc:"URL path of a port, with PORT in place of its number. Send your token with each request." example:"/v1/sessions/sk3v7q2m9xw4tz6hb/ports/PORT/"`
	Hosts  []string `json:"hosts" doc:"Hosts of a port, with PORT in place of its number. Empty if the operator set no --host. The port of the server follows as usual." example:"[\"PORT-sk3v7q2m9xw4tz6hb.cells.example\"]"`
	Public bool     `json:"public" doc:"If true, everybody can reach the ports through the hosts, without a token."`
	Header string   `json:"header" doc:"Header of requests to a host of a port." example:"E2b-Traffic-Access-Token"`
	Token  string   `json:"token,omitempty" doc:"Value of the header. It opens only the ports of this session. Absent if the server needs no tokens."`
}
