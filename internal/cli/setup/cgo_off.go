//go:build !cgo

package setup

// withCgo reports that this binary was built with cgo. gVisor's processes crash at their start in such a binary,
// without a message.
const withCgo = false
