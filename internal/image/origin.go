package image

import (
	"encoding/json"
	"path/filepath"
	"strings"
)

// recipeLabel is where the configuration of an exported image says which recipe the image was made from.
const recipeLabel = "cellhold.recipe"

// recipeOf is the recipe of an image, for its export: the one that it was made from here, or else the one that it says.
func recipeOf(img Image) string {
	if name, ok := strings.CutPrefix(img.Source, FromRecipe); ok {
		return name
	}
	return img.Claims
}

// claimedRecipe reads from a foreign configuration which recipe the image says it was made from. Anybody can write that
// into an image, so nothing may be decided by it; it is shown to people, and kept when the image is exported again.
func claimedRecipe(config []byte) string {
	var c struct {
		Config struct {
			Labels map[string]string `json:"Labels"`
		} `json:"config"`
	}
	if json.Unmarshal(config, &c) != nil {
		return ""
	}
	name := c.Config.Labels[recipeLabel]
	if checkName(name) != nil || strings.ContainsAny(name, "/:") {
		return ""
	}
	return name
}

// from is the Source of a foreign image. A path is absolute, so that no file's name looks like FromRecipe.
func (src source) from() string {
	from := src.where + " " + src.digest
	if src.recipe != "" {
		from += ", which says it was made from the recipe " + src.recipe
	}
	return from
}

// absolute names a file for people wherever they are.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return string(filepath.Separator) + path
}
