package main

import (
	"path"
	"slices"
	"strings"
	"unicode"
)

// dataEndings are the endings of files that other programs read as data. What programs run, load or configure
// themselves with is not here: yaml and toml configure, a pickle runs code when it is loaded.
var dataEndings = strings.Fields(`.csv .tsv .txt .json .jsonl .geojson .xml .parquet .feather .arrow .xlsx .xls .ods
	.png .jpg .jpeg .gif .webp .bmp .tif .tiff .svg .pdf .html .md .tex .docx .pptx .ipynb .npy .npz .h5 .hdf5 .nc .mat
	.db .sqlite .sqlite3 .wav .mp3 .mp4 .zip .gz .log .ply .stl`)

// obeyedNames are patterns of names that programs obey, though their endings are those of data: package managers,
// build tools, Jupyter and Python's entry points read them from the current directory, agents take them for orders.
var obeyedNames = strings.Fields(`package*.json npm-shrinkwrap.json bower.json composer.json vcpkg.json deno.json
	*config.json tsconfig*.json *settings.json *.config.json *presets.json global.json project.json lerna.json nx.json turbo.json
	angular.json cdk.json nodemon.json vercel.json firebase.json renovate.json mcp.json kernel.json
	*requirements*.txt *constraints*.txt cmake*.txt conanfile.txt runtime.txt entry_points.txt meson_options.txt
	pom.xml build.xml ivy.xml settings.xml phpunit.xml
	agents*.md claude*.md gemini*.md skill.md copilot-instructions.md`)

// packageFolders are the endings of folders that Python takes for an installed package.
var packageFolders = []string{".dist-info", ".egg-info", ".egg"}

// folded is a name as file systems compare it that do not tell case: also the letters whose only fellow is an ASCII
// one, the characters that HFS leaves out, and the dots and spaces that Windows cuts off.
func folded(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, name)
	return strings.TrimRight(strings.ToLower(strings.ToUpper(name)), " .")
}

// hidden reports whether some part of a path is hidden: git, shells and editors obey such files, so code that
// is not trusted must not put them into a folder where somebody works.
func hidden(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return strings.HasPrefix(part, ".") })
}

// data reports whether a path is that of a file which other programs read and do not obey.
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

// reserved says why a name can be nowhere on this machine, also in a folder that is ours: some programs take it for
// an option, or its folder for a repository. It is empty for all other names.
func reserved(part string) string {
	switch name := folded(part); {
	case strings.HasPrefix(part, "-"):
		return "programs would take its name for an option"
	case name == ".git" || name == "git~1" || name == "head":
		return "git would obey it"
	case name == mark:
		return "cellhold marks its own folders with this name"
	}
	return ""
}
