package oneshot

import (
	"maps"
	"slices"
	"strings"

	"cellhold"
)

// language says how the programs of one language are compiled and run.
type language struct {
	name    string
	file    string   // name of the code in the working directory
	compile []string // program and arguments of the compiler; nil if the language has none
	run     []string // program and arguments that run the code
	kernel  string   // kernelspec of cells; empty if the images have none
}

// built is the result of a compiler. It is outside the working directory, so that it is no changed file.
const built = "/tmp/cellhold-run"

// python is the default language.
const python = "python"

// languages has the languages by name. The stock image has python and bash, and the image polyglot has all.
var languages = map[string]language{
	python:       {file: "main.py", run: []string{"python3", "main.py"}, kernel: "python3"},
	"bash":       {file: "main.sh", run: []string{"bash", "main.sh"}, kernel: "bash"},
	"javascript": {file: "main.js", run: []string{"node", "main.js"}, kernel: "javascript"},
	"typescript": {file: "main.ts", compile: append(typescript, "--outDir", built, "main.ts"), run: []string{"node", built + "/main.js"}},
	"r":          {file: "main.R", run: []string{"Rscript", "main.R"}, kernel: "ir"},
	"c":          {file: "main.c", compile: []string{"gcc", "-O2", "-o", built, "main.c", "-lm"}, run: []string{built}},
	"cpp":        {file: "main.cpp", compile: []string{"g++", "-O2", "-std=c++20", "-o", built, "main.cpp"}, run: []string{built}},
	"go":         {file: "main.go", compile: []string{"go", "build", "-o", built, "main.go"}, run: []string{built}},
	"rust":       {file: "main.rs", compile: []string{"rustc", "-O", "--edition", "2021", "-o", built, "main.rs"}, run: []string{built}},
	java:         javaProgram(javaDefault, javaDefault),
}

// typescript compiles for the Node of the image. Without these options the language is that of 2009, the code shares its
// names with a browser, and declarations of installed packages are checked.
var typescript = []string{"tsc", "--target", "es2022", "--lib", "es2023", "--module", "commonjs", "--moduleDetection", "force", "--esModuleInterop", "--skipLibCheck"}

// otherNames has usual other names of languages.
var otherNames = map[string]string{"": python, "py": python, "python3": python, "sh": "bash", "shell": "bash", "js": "javascript", "node": "javascript",
	"nodejs": "javascript", "ts": "typescript", "c++": "cpp", "cxx": "cpp", "cc": "cpp", "golang": "go", "rs": "rust"}

// findLanguage returns a language by its name or a usual other name, in any case. An empty name means python.
func findLanguage(name string) (language, error) {
	lower := strings.ToLower(name)
	if other, ok := otherNames[lower]; ok {
		lower = other
	}
	l, ok := languages[lower]
	if !ok {
		return l, cellhold.Errorf(cellhold.Invalid, "Unknown language %.40q: use one of %s, or send a command.", name, strings.Join(slices.Sorted(maps.Keys(languages)), ", "))
	}
	l.name = lower
	return l, nil
}

// of returns the language for this code: the names of Java's files are those of its classes.
func (l language) of(code string) language {
	if l.name != java {
		return l
	}
	made := javaProgram(javaNames(code))
	made.name = l.name
	return made
}

// toolMissing returns the error of a language whose compiler or interpreter the image does not have.
func toolMissing(l language, tool, image string) error {
	return cellhold.Errorf(cellhold.Invalid, "The image %q has no program %s, which the language %s needs. Use the image polyglot of this version, or another image that has %s.", image, tool, l.name, tool)
}
