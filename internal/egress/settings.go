package egress

// Settings is the network access that the operator allows for sessions. The zero value allows none.
type Settings struct {
	Default Policy // default of sessions
	Ceiling Policy // the widest policy that a caller can request
	Rules   Rules  // rules for all sessions
	Limits  Limits // limits of one session; zero fields mean the defaults
}
