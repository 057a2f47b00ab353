package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// result is the result of one test: pass, fail, skip, or "" if it did not run.
type result = string

// runTests runs the tests of all items, one package after the other, and returns the results by name.
func runTests(items []item) (map[string]result, error) {
	results := map[string]result{}
	names := byPackage(items)
	for _, pkg := range slices.Sorted(maps.Keys(names)) {
		fmt.Printf("%s: %d tests\n", pkg, len(names[pkg]))
		if err := runPackage(pkg, names[pkg], results); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// byPackage returns the names of the top-level tests of each package.
func byPackage(items []item) map[string][]string {
	all := map[string][]string{}
	for _, x := range items {
		for _, name := range x.Tests {
			pkg, test := split(name)
			top, _, _ := strings.Cut(test, "/")
			if !slices.Contains(all[pkg], top) {
				all[pkg] = append(all[pkg], top)
			}
		}
	}
	return all
}

// split returns the package and the test of a name.
func split(name string) (pkg, test string) {
	slash := strings.LastIndex(name[:strings.Index(name+"/Test", ".")], "/")
	dot := strings.Index(name[slash+1:], ".") + slash + 1
	return name[:dot], name[dot+1:]
}

func runPackage(pkg string, tests []string, results map[string]result) error {
	pattern := "^(" + strings.Join(tests, "|") + ")$"
	cmd := exec.Command("go", "test", "-json", "-vet=off", "-count=1", "-parallel=3", "-timeout=30m", "-run", pattern, "./"+pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	read := readResults(pkg, out, results)
	if err := cmd.Wait(); err != nil && read == nil {
		if _, failed := err.(*exec.ExitError); !failed {
			return err
		}
	}
	return read
}

// readResults reads the output of go test -json. It prints the output of failed tests.
func readResults(pkg string, in io.Reader, results map[string]result) error {
	output := map[string][]string{}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		var e struct{ Action, Test, Output string }
		if json.Unmarshal([]byte(line), &e) == nil {
			key := pkg + "." + e.Test
			switch e.Action {
			case "output":
				output[key] = append(output[key], e.Output)
			case "pass", "skip", "fail":
				results[key] = e.Action
				if e.Action == "fail" {
					fmt.Print(strings.Join(output[key], ""))
				}
				delete(output, key)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var declared = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)

// declaredTests returns the tests that the files of a package declare.
func declaredTests(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		text, err := os.ReadFile(dir + "/" + f.Name())
		if err != nil {
			return nil, err
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			all = append(all, m[1])
		}
	}
	return all, nil
}
