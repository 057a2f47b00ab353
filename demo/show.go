package main

import (
	"cellhold"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// step prints the title of the next step.
func step(what string) { fmt.Printf("\n== %s\n", what) }

// show prints text with a prefix before each line.
func show(before, text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Println(before + strings.TrimRight(line, "\n"))
	}
}

// control matches control characters, which the terminal would obey. The output is untrusted.
var control = regexp.MustCompile("\x1b\\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f-\u009f]")

// showOutput prints one output as text.
func showOutput(o cellhold.Output) {
	text := o.Text
	switch o.Type {
	case cellhold.EventError:
		text = shortened(strings.Split(strings.Join(o.Traceback, "\n"), "\n"))
	case cellhold.EventDisplayData, cellhold.EventExecuteResult:
		if image, ok := o.Data["image/png"]; ok {
			text = fmt.Sprintf("(a figure, %d KB of PNG)", len(image)*3/4/1024)
			break
		}
		_ = json.Unmarshal(o.Data["text/plain"], &text) // only text is shown
	}
	show("   ", control.ReplaceAllString(text, ""))
}

// shortened omits the middle of a traceback, which is in pandas and not in the demo's code.
func shortened(lines []string) string {
	const head = 4 // up to the demo's line that failed
	if len(lines) > head+2 {
		lines = append(lines[:head:head], "…", lines[len(lines)-1])
	}
	return strings.Join(lines, "\n")
}
