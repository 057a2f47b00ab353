package image

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnImportedImageDoesNotCountAsBuiltFromItsClaimedRecipe(t *testing.T) {
	s := testStore(t, buildHello)
	mustBuild(t, s, testRecipe("true"))
	for range 2 { // the imported image is exported again
		out := filepath.Join(t.TempDir(), "recipe tiny.tar")
		if err := s.Export(t.Context(), "tiny", out, nil); err != nil {
			t.Fatal(err)
		}
		t.Chdir(filepath.Dir(out))
		s = testStore(t, nil)
		back, err := s.Import(t.Context(), filepath.Base(out), "tiny", nil)
		if err != nil {
			t.Fatal(err)
		}
		if back.Claims != "tiny" || !strings.HasSuffix(back.Source, ", which says it was made from the recipe tiny") {
			t.Errorf("got the claim %q and the source %q, want the claim tiny, and the claim at the end of the source", back.Claims, back.Source)
		}
		if strings.HasPrefix(back.Source, FromRecipe) {
			t.Errorf("got the source %q, want another start than %q", back.Source, FromRecipe)
		}
	}
}

func TestAnInvalidRecipeNameInAnImageIsIgnored(t *testing.T) {
	for name, want := range map[string]string{
		"python": "python", "": "", "a/b": "", "a:b": "", "a\x1b[31m": "", " python": "", strings.Repeat("a", 1000): "",
	} {
		config, err := json.Marshal(map[string]any{"config": map[string]any{"Labels": map[string]string{recipeLabel: name}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := claimedRecipe(config); got != want {
			t.Errorf("the label %q: got %q, want %q", name, got, want)
		}
	}
	for _, config := range []string{"", "[]", `{"config": []}`, `{"config": {"Labels": {"cellhold.recipe": 7}}}`} {
		if got := claimedRecipe([]byte(config)); got != "" {
			t.Errorf("the config %q: got %q, want \"\"", config, got)
		}
	}
}
