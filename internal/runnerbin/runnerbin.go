// Package runnerbin carries the runner inside the server's binary. It writes the runner to disk, and finds the runners
// of other builds on disk. Package builds says how. The runner is compressed, because it runs only from disk.
package runnerbin

import (
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"cellhold/internal/builds"
)

// Name is the file name of the runner on disk. This package has it with the endings .gz and .sha256.
const Name = "cellhold-runner"

// `make build` builds the runner; it is not committed. The folder's README is committed, so that the package compiles
// without the runner.
//
//go:embed bin
var files embed.FS

// ErrNotBuiltIn says that this binary was built without the runner.
var ErrNotBuiltIn = errors.New("this cellhold was built without its runner; build it with: make build")

// Runners are the runners in a folder: the one of this build, and others. A server executes a runner with its own
// rights. So Find returns a path to an open file, which no other user can replace.
type Runners struct{ *builds.Builds }

// Open returns the runners in a folder, and writes the one of this build.
func Open(dir string) (Runners, error) {
	p, err := program()
	if errors.Is(err, fs.ErrNotExist) {
		return Runners{}, ErrNotBuiltIn
	}
	var b *builds.Builds
	if err == nil {
		b, err = builds.Open(dir, p)
	}
	if err != nil {
		return Runners{}, fmt.Errorf("runner: %w", err)
	}
	return Runners{b}, nil
}

// Find returns the path of the runner with a SHA-256 digest. Before that, it compares the bytes with the digest.
func (r Runners) Find(digest string) (string, error) { return r.Executable(digest) }

func program() (builds.Program, error) {
	digest, err := files.ReadFile("bin/" + Name + ".sha256")
	if err != nil {
		return builds.Program{}, err
	}
	packed, err := files.Open("bin/" + Name + ".gz") // a file in memory, which needs no Close
	if err != nil {
		return builds.Program{}, err
	}
	content, err := gzip.NewReader(packed)
	return builds.Program{Name: Name, Digest: strings.TrimSpace(string(digest)), Content: content}, err
}
