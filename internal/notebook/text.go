package notebook

import (
	"cellhold"
	"fmt"
	"strings"
)

// Text returns the outputs as text: stream text, and the text/plain of results and displays, joined by
// newlines.
func Text(outputs []cellhold.Output) string {
	var parts []string
	for _, o := range outputs {
		switch o.Type {
		case cellhold.EventStream:
			parts = append(parts, o.Text)
		case cellhold.EventDisplayData, cellhold.EventExecuteResult:
			if text, ok := textOf(o.Data["text/plain"]); ok {
				parts = append(parts, text)
			}
		}
	}
	return strings.Join(parts, "\n")
}

// Plot is one PNG image.
type Plot struct {
	Number int    `json:"plot_number" doc:"Number of the plot in the cell, from 1."`
	Name   string `json:"file_name" doc:"Name for a file." example:"output_1.png"`
	Base64 string `json:"base64_data" doc:"PNG image in base64."`
}

// Plots returns the PNG images among the outputs, in order.
func Plots(outputs []cellhold.Output) []Plot {
	plots := []Plot{} // not nil, so that JSON has an empty list
	for _, o := range outputs {
		data, ok := textOf(o.Data["image/png"])
		if !ok {
			continue
		}
		n := len(plots) + 1
		if strings.ContainsAny(data, " \t\r\n") { // kernels can split it into lines
			data = strings.Join(strings.Fields(data), "")
		}
		plots = append(plots, Plot{Number: n, Name: fmt.Sprintf("output_%d.png", n), Base64: data})
	}
	return plots
}
