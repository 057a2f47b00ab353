package cellhold

import "time"

// EgressPolicy says which network addresses the code of a session can reach. The zero value allows none.
type EgressPolicy string

// The policies, from the strictest to the widest.
const (
	EgressNone      EgressPolicy = "none"      // no network access
	EgressAllowlist EgressPolicy = "allowlist" // only the named hosts
	EgressPublic    EgressPolicy = "public"    // the internet, without private and special addresses
)

// Egress is the network access of a session's code. The zero value allows none.
type Egress struct {
	Policy EgressPolicy `json:"policy,omitempty" enum:"none,allowlist,public" doc:"none: no network access. allowlist: only the named hosts. public: the internet, without private, local and metadata addresses."`
	Hosts  []string     `json:"hosts,omitempty" maxItems:"100" doc:"Hosts of an allowlist. example.org matches only that name; *.example.org matches its subdomains." example:"[\"example.org\",\"*.example.org\"]"`
}

// EgressDecision is the result of a connection attempt.
type EgressDecision string

// The results of an attempt.
const (
	EgressAllowed EgressDecision = "allowed" // the policy allowed the attempt, and the connection was made
	EgressRefused EgressDecision = "refused" // the policy refused the attempt, and nothing was sent
	EgressFailed  EgressDecision = "failed"  // the policy allowed the attempt, and the connection failed
)

// EgressAttempt is one attempt of a session's code to connect to a host. It is also the content of egress
// events. The first event reports the decision. If a connection was made, a second event with the same id
// reports its end.
type EgressAttempt struct {
	ID       string         `json:"id" doc:"Attempt id, unique within the session."`
	Time     time.Time      `json:"time" doc:"Time of the attempt."`
	Host     string         `json:"host" doc:"Requested host name or address, in canonical form if it has one." example:"example.org"`
	Port     int            `json:"port" doc:"Requested port." example:"443"`
	Decision EgressDecision `json:"decision" enum:"allowed,refused,failed" doc:"Result of the attempt."`
	Reason   string         `json:"reason,omitempty" doc:"Why the attempt was refused, or the connection failed or broke off."`
	Address  string         `json:"address,omitempty" doc:"Address of the connection."`
	Sent     int64          `json:"sent,omitempty" doc:"Bytes from the sandbox."`
	Received int64          `json:"received,omitempty" doc:"Bytes to the sandbox."`
	Ended    time.Time      `json:"ended,omitzero" doc:"Time at which the connection ended. Absent while the connection is open, if a restart of the server ended it, and in a fork that was made while it was open."`
	More     int64          `json:"more,omitempty" doc:"Number of attempts since the previous entry that are not listed, because there were too many."`
}

// Secret is a value that the code of a session can send to one host by HTTPS without seeing it. A caller sends the
// value when it creates the session. The server never returns the value.
type Secret struct {
	Name  string `json:"name" maxLength:"64" doc:"Environment variable that has a placeholder for the value." example:"API_KEY"`
	Host  string `json:"host" maxLength:"253" doc:"Host that receives the secret. The session's egress must allow it." example:"api.example.org"`
	Value string `json:"value" maxLength:"4096" doc:"The secret value. Outside the sandbox, the server replaces the placeholder with it in headers of HTTPS requests to that host." example:"s3cr3t"`
}

// SecretInfo is the public part of a secret.
type SecretInfo struct {
	Name string `json:"name" doc:"Environment variable that has a placeholder for the value."`
	Host string `json:"host" doc:"Host that receives the secret."`
}
