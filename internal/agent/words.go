package agent

import "strings"

// lastWords picks from what a dead process wrote the one line that says why it died, if any does.
// Interpreters name the error on the last line, or behind "Fatal Python error" when they crash.
func lastWords(output string) string {
	found := ""
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Fatal ") {
			return sentence(line)
		}
		if strings.Contains(line, "Error") || strings.Contains(line, "error") {
			found = line
		}
	}
	return sentence(found)
}
