// Package hostile has attacks on a server and its neighbours, as code in a sandbox. Each attack checks three results:
// the result in the sandbox, the canaries on the host, and a neighbour's session together with the server.
//
// The names of the subtests are the numbers in test/containment/attacks.go. Other attacks have their tests in other
// packages, and the same list names them.
package hostile
