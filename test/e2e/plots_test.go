package e2e

import (
	_ "embed"
	"encoding/json"
	"testing"
	"time"

	"cellhold/client"
)

//go:embed testdata/plots.py
var plots string

func TestTitlesInEveryWritingSystemHaveGlyphs(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, plots, 4*time.Minute)
	type verdict struct {
		Failed     []string `json:"failed"`
		Complaints []string `json:"complaints"`
	}
	var result map[string]map[string]verdict
	if err := json.Unmarshal([]byte(text(c)), &result); err != nil {
		t.Fatalf("the cell ended with %s and %s, want JSON", c.Status, text(c))
	}
	for _, setting := range []string{"default", "seaborn", "ggplot", "SimHei", "PIL", "control"} {
		if len(result[setting]) < 2 {
			t.Errorf("with the setting %s, %d writing systems were drawn, want at least 2", setting, len(result[setting]))
		}
		for script, v := range result[setting] {
			switch {
			case setting != "control" && len(v.Failed)+len(v.Complaints) > 0:
				t.Errorf("%s, %s: got the characters without a glyph %q and the warnings %q, want none", setting, script, v.Failed, v.Complaints)
			case setting == "control" && script != "Greek and Cyrillic" && (len(v.Failed) == 0 || len(v.Complaints) == 0):
				t.Errorf("%s, with one font and no fallbacks: got the characters without a glyph %q and the warnings %q, want at least one of each; otherwise this test finds no missing glyph", script, v.Failed, v.Complaints)
			}
		}
	}
}
