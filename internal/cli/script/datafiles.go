package script

import (
	"path"
	"slices"
	"strings"
	"unicode"
)

// dataEndings are the extensions of files that other programs only read as data. Files that programs run, load or
// use as configuration are missing here: YAML and TOML are configuration, and loading a pickle runs code.
var dataEndings = strings.Fields(`.csv .tsv .txt .json .jsonl .geojson .xml .parquet .feather .arrow .xlsx .xls .ods
	.png .jpg .jpeg .gif .webp .bmp .tif .tiff .svg .pdf .html .md .tex .docx .pptx .ipynb .npy .npz .h5 .hdf5 .nc .mat
	.db .sqlite .sqlite3 .wav .mp3 .mp4 .zip .gz .log .ply .stl`)

// obeyedNames are patterns of file names that programs obey although the extension is one of data. Package managers,
// build tools, Jupyter and Python's entry points read these files from the current directory; AI agents take them as
// instructions.
var obeyedNames = strings.Fields(`package*.json npm-shrinkwrap.json bower.json composer.json vcpkg.json deno.json
	*config.json tsconfig*.json *settings.json *.config.json *presets.json global.json project.json lerna.json nx.json turbo.json
	angular.json cdk.json nodemon.json vercel.json firebase.json renovate.json mcp.json kernel.json
	*requirements*.txt *constraints*.txt cmake*.txt conanfile.txt runtime.txt entry_points.txt meson_options.txt
	pom.xml build.xml ivy.xml settings.xml phpunit.xml
	agents*.md claude*.md gemini*.md skill.md copilot-instructions.md`)

// packageFolders are the extensions of folders that Python treats as installed packages.
var packageFolders = []string{".dist-info", ".egg-info", ".egg"}

// folded returns a name in the form that case-insensitive file systems compare. It also folds non-ASCII letters with
// an ASCII counterpart, drops the characters that HFS ignores, and cuts the dots and spaces that Windows cuts.
func folded(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, name)
	return strings.TrimRight(strings.ToLower(strings.ToUpper(name)), " .")
}

// hidden reports whether a part of the path is hidden. Git, shells and editors obey hidden files, so untrusted code
// must not put them into a folder in which somebody works.
func hidden(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return strings.HasPrefix(part, ".") })
}

// data reports whether programs only read a file with this path, and do not obey it.
func data(name string) bool {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = folded(parts[i])
	}
	last := len(parts) - 1
	for _, dir := range parts[:last] {
		if slices.Contains(packageFolders, path.Ext(dir)) {
			return false
		}
	}
	if !slices.Contains(dataEndings, path.Ext(parts[last])) {
		return false
	}
	return !slices.ContainsFunc(obeyedNames, func(pattern string) bool {
		obeyed, err := path.Match(pattern, parts[last])
		return obeyed || err != nil
	})
}

// reserved returns why a path must not contain this part, even in a folder that we own: some programs would take it
// for an option, or its folder for a repository. It returns "" for all other parts.
func reserved(part string) string {
	switch name := folded(part); {
	case strings.HasPrefix(part, "-"):
		return "programs would read its name as an option"
	case name == ".git" || name == "git~1" || name == "head":
		return "git would obey it"
	case name == mark:
		return "cellhold uses this name to mark its own folders"
	}
	return ""
}
