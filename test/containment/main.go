// Command containment runs the tests of each known attack and fault, and writes one page with the results. The page
// lists first what failed and what is open.
//
//	go run ./test/containment -out build/containment
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// item is one attack or one fault.
type item struct {
	ID     string
	Title  string
	Expect string   // what must happen
	Tests  []string // package.Test or package.Test/subtest, with the package below the module
	Open   string   // what no test shows; empty if the tests show all
}

// items returns the attacks and the faults.
func items() []item { return slices.Concat(attacks, faults) }

func main() {
	out := flag.String("out", "build/containment", "folder for the page")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "containment:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	results, err := runTests(items())
	if err != nil {
		return err
	}
	p := newPage(host(), results)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"containment.md": p.markdown(), "containment.json": p.json()} {
		if err := os.WriteFile(filepath.Join(out, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%s\n%s\n", p.summary(), filepath.Join(out, "containment.md"))
	if p.failed() {
		return errors.New("an attack or a fault had another result than expected")
	}
	return nil
}
