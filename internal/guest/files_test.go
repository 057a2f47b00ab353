package guest

import (
	"encoding/json"
	"path"
	"strings"
	"testing"

	"cellhold/internal/guestapi"
)

func TestAPathThatCouldLeadElsewhereIsRefused(t *testing.T) {
	for _, p := range []string{
		"", ".", "..", "../x", "a/../../x", "a/./b", "a//b", "/etc/passwd", "a/", "a\x00b", "a\nb", "a\x7f", "a\u0085",
		"\xff", strings.Repeat("x", guestapi.MaxPath+1), strings.Repeat("d/", guestapi.MaxDepth) + "f",
	} {
		if ValidPath(p) {
			t.Errorf("%.40q counts as valid", p)
		}
	}
	for _, p := range []string{"a", "a/b.csv", "…", "..a", "a b", strings.Repeat("d/", guestapi.MaxDepth-1) + "f"} {
		if !ValidPath(p) {
			t.Errorf("%q is refused", p)
		}
	}
}

func TestAListWithAnInvalidFileIsRefused(t *testing.T) {
	for name, list := range map[string][]guestapi.File{
		"a path that leads out": {{Path: "../x"}},
		"a negative size":       {{Path: "x", Size: -1}},
		"a file twice":          {{Path: "x"}, {Path: "y"}, {Path: "x"}},
		"too many":              make([]guestapi.File, guestapi.MaxFiles+1),
	} {
		if err := checkFiles(list); err == nil {
			t.Errorf("%s: the list is accepted", name)
		}
	}
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte(`[{"path":"a/b","size":1,"modified":"2026-01-02T03:04:05Z"},{"path":"a","size":0,"modified":"9999-12-31T23:59:59-23:59"}]`))
	f.Add([]byte(`[{"path":"../x"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []guestapi.File
		if !fits(b, listLevels, maxListCommas) || json.Unmarshal(b, &list) != nil || checkFiles(list) != nil {
			return
		}
		if _, err := json.Marshal(list); err != nil {
			t.Fatalf("the list cannot be encoded: %v", err)
		}
		for _, file := range list {
			if path.IsAbs(file.Path) || path.Clean(file.Path) != file.Path || strings.HasPrefix(file.Path, "..") && strings.HasPrefix(file.Path+"/", "../") {
				t.Fatalf("path %q", file.Path)
			}
		}
	})
}
