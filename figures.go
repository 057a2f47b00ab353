package cellhold

// Figures is the format of the figures of a cell. If a field is empty, the code and the kernel decide.
type Figures struct {
	Formats []string `json:"formats,omitempty" enum:"png,svg,jpeg,pdf" maxItems:"4" doc:"Image formats. Each figure has all of them in one output." example:"[\"png\",\"svg\"]"`
	DPI     int      `json:"dpi,omitempty" minimum:"0" maximum:"1200" doc:"Resolution of bitmap figures in dots per inch. 100 is usual." example:"200"`
}
