package main

import (
	"cellhold"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// step announces what comes next.
func step(what string) { fmt.Printf("\n== %s\n", what) }

// show prints text with something before each line.
func show(before, text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Println(before + strings.TrimRight(line, "\n"))
	}
}

// control matches what a terminal would obey instead of showing. The output is a stranger's.
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
		_ = json.Unmarshal(o.Data["text/plain"], &text) // what is not text is not shown
	}
	show("   ", control.ReplaceAllString(text, ""))
}

// shortened leaves out the middle of a traceback, which is in pandas and not in our code.
func shortened(lines []string) string {
	const head = 4 // up to the line of ours that failed
	if len(lines) > head+2 {
		lines = append(lines[:head:head], "…", lines[len(lines)-1])
	}
	return strings.Join(lines, "\n")
}
