package kernels

import "strings"

// errorLine returns the line in a dead process's output that says why it died, or the empty string.
// Interpreters name the error on the last line, or after "Fatal Python error" in a crash.
func errorLine(output string) string {
	found := ""
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Fatal ") {
			return Sentence(line)
		}
		if strings.Contains(line, "Error") || strings.Contains(line, "error") {
			found = line
		}
	}
	return Sentence(found)
}
