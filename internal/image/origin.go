package image

import (
	"encoding/json"
	"path/filepath"
	"strings"
)

// recipeLabel is the label with the recipe, in the configuration of an exported image.
const recipeLabel = "cellhold.recipe"

// recipeOf returns the recipe of an image, for its export: the recipe from which it was built here, or else the
// claimed recipe.
func recipeOf(img Image) string {
	if name, ok := strings.CutPrefix(img.Source, FromRecipe); ok {
		return name
	}
	return img.Claims
}

// claimedRecipe reads the recipe that a foreign image claims. Anybody can write it into an image, so no decision
// depends on it. It is shown to people, and kept in a new export.
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

// from returns the Source of a foreign image. The path is absolute, so that no file name looks like FromRecipe.
func (src source) from() string {
	from := src.where + " " + src.digest
	if src.recipe != "" {
		from += ", which says it was made from the recipe " + src.recipe
	}
	return from
}

// absolute returns an absolute path for messages.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return string(filepath.Separator) + path
}
