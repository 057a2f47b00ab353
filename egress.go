package cellhold

import "time"

// EgressPolicy says how far the code of a session may reach. The zero value reaches nothing.
type EgressPolicy string

// The policies, each reaching further than the one before.
const (
	EgressNone      EgressPolicy = "none"      // nothing at all
	EgressAllowlist EgressPolicy = "allowlist" // the named hosts
	EgressPublic    EgressPolicy = "public"    // the internet, without private and special addresses
)

// Egress is what the code of a session may reach outside its sandbox. The zero value is nothing.
type Egress struct {
	Policy EgressPolicy `json:"policy,omitempty" enum:"none,allowlist,public" doc:"none reaches nothing; allowlist reaches the named hosts; public reaches the internet, but no private, local or metadata addresses."`
	Hosts  []string     `json:"hosts,omitempty" maxItems:"100" doc:"Names that an allowlist has: exact ones, or *.example.org for all names below example.org." example:"[\"example.org\",\"*.example.org\"]"`
}

// EgressDecision says what became of an attempt to reach something.
type EgressDecision string

// The decisions.
const (
	EgressAllowed EgressDecision = "allowed" // it was allowed, and a connection was made
	EgressRefused EgressDecision = "refused" // the policy refused it; nothing was sent
	EgressFailed  EgressDecision = "failed"  // it was allowed, and could not be reached
)

// EgressAttempt is one attempt of a session's code to reach something outside. It is also the content
// of egress events: one when it is decided and, if a connection was made, another with the same id
// when that has ended.
type EgressAttempt struct {
	ID       string         `json:"id" doc:"Identifies the attempt within its session."`
	Time     time.Time      `json:"time" doc:"When it was made."`
	Host     string         `json:"host" doc:"The name or address that was asked for, in canonical form if it has one." example:"example.org"`
	Port     int            `json:"port" doc:"The port that was asked for." example:"443"`
	Decision EgressDecision `json:"decision" enum:"allowed,refused,failed" doc:"What became of it."`
	Reason   string         `json:"reason,omitempty" doc:"One sentence, when no connection was made or it was broken off."`
	Address  string         `json:"address,omitempty" doc:"The address that was connected to."`
	Sent     int64          `json:"sent,omitempty" doc:"Bytes from the sandbox."`
	Received int64          `json:"received,omitempty" doc:"Bytes to the sandbox."`
	Ended    time.Time      `json:"ended,omitzero" doc:"When the connection ended; absent while it is open, when a restart of the server cut it, and in a fork that was made while it was open."`
	More     int64          `json:"more,omitempty" doc:"Further attempts since the last one listed, not listed one by one because there were too many."`
}

// Secret is a value that the code of a session can use without seeing it: in requests by HTTPS to one
// host. Only whoever creates a session has it; it is never given back.
type Secret struct {
	Name  string `json:"name" maxLength:"64" doc:"Environment variable in which the code finds a placeholder." example:"API_KEY"`
	Host  string `json:"host" maxLength:"253" doc:"The host it belongs to, one that the session may reach." example:"api.example.org"`
	Value string `json:"value" maxLength:"4096" doc:"The secret. It takes the place of the placeholder in headers of HTTPS requests to that host, outside the sandbox." example:"s3cr3t"`
}

// SecretInfo is what is shown of a secret.
type SecretInfo struct {
	Name string `json:"name" doc:"Environment variable with the placeholder."`
	Host string `json:"host" doc:"The host it belongs to."`
}
