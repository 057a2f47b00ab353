package cellhold

// Figures says how the figures of a cell are drawn. What is empty is as the code and the kernel have it.
type Figures struct {
	Formats []string `json:"formats,omitempty" enum:"png,svg,jpeg,pdf" maxItems:"4" doc:"Every figure comes in all of these, in one output." example:"[\"png\",\"svg\"]"`
	DPI     int      `json:"dpi,omitempty" minimum:"0" maximum:"1200" doc:"Dots per inch of figures made of dots; 100 is usual." example:"200"`
}
