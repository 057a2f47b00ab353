package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// prelude makes a kernel behave as `python FILE` does, where scripts would notice the difference.
//
//go:embed prelude.py
var prelude string

// workspace is where a session's code is at the beginning.
const workspace = "/workspace"

// startup is the code that makes the kernel ready for a script of that name, with those arguments. A
// script from the standard input has no name but "-", as with Python, and no file.
func startup(name string, args []string) (string, error) {
	path := ""
	if name != stdinName {
		name = filepath.Base(name)
		path = workspace + "/" + name
	}
	// Lists and strings of JSON are lists and strings of Python too.
	given, err := json.Marshal([]any{append([]string{name}, args...), path})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s\n_prepare(*%s); del _prepare\n", prelude, given), nil
}
