package oneshot

import (
	"strings"
	"unicode/utf8"
)

const (
	java = "java"
	// javaDefault is the class of a program that declares none.
	javaDefault = "Main"
	// maxJavaName is the length of the longest class that gives a file its name: file systems allow 255 bytes.
	maxJavaName = 200
)

// javaProgram returns the language of a program in a file that is named after a class, with a class that has the method
// main. Without the option of the heap, Java uses a quarter of the sandbox's memory.
func javaProgram(file, main string) language {
	return language{file: file + ".java", compile: []string{"javac", "-encoding", "UTF-8", "-d", built, file + ".java"},
		run: []string{"java", "-XX:MaxRAMPercentage=70", "-cp", built, main}}
}

// javaNames returns the name of the file that javac wants, without its ending, and the class to run, with its package. The
// file has the name of the public type. The class is the first one that has a method main.
func javaNames(code string) (file, main string) {
	r := javaReader{words: javaWords{code: code}}
	r.read()
	file, main = javaDefault, firstOf(r.runs, r.public, r.first, javaDefault)
	if len(r.public) <= maxJavaName {
		file = firstOf(r.public, javaDefault)
	}
	return file, r.folder + main
}

// javaReader finds the declarations of a file.
type javaReader struct {
	words javaWords
	depth int // of braces

	folder              string // package, with a dot at its end
	first, last, public string // types outside of other types
	runs                string // first type with a method main
}

// read reads the file to its end.
func (r *javaReader) read() {
	public := false // the next type is public
	before, last := "", ""
	for word := r.words.next(); word != ""; before, last, word = last, word, r.words.next() {
		switch {
		case word == "{":
			r.depth++
		case word == "}":
			r.depth--
			public = false
		case r.depth == 0 && word == "public":
			public = true
		case r.depth == 0 && last == "package":
			r.folder = r.words.upTo(word, ';')
		case r.depth == 0 && javaTypes[last] && startsWord(word):
			r.declare(word, public)
			public = false
		case r.depth == 1 && r.runs == "" && word == "(" && last == "main" && before == "void":
			r.runs = r.last
		}
	}
}

var javaTypes = map[string]bool{"class": true, "interface": true, "enum": true, "record": true}

// declare notes a type outside of other types.
func (r *javaReader) declare(name string, public bool) {
	r.last, r.first = name, firstOf(r.first, name)
	if public {
		r.public = firstOf(r.public, name)
	}
}

// javaWords splits code into names, keywords, numbers and single bytes. It skips white space, comments and texts. It reads
// each byte once, because code of any size is read before a sandbox starts.
type javaWords struct{ code string }

// next returns the next word, or an empty text at the end.
func (w *javaWords) next() string {
	for w.code != "" {
		n := 1
		switch c := w.code[0]; {
		case strings.HasPrefix(w.code, "//"):
			w.skip("\n", 2)
			continue
		case strings.HasPrefix(w.code, "/*"):
			w.skip("*/", 2)
			continue
		case strings.HasPrefix(w.code, `"""`):
			w.skip(`"""`, 3)
			continue
		case c == '"' || c == '\'':
			w.skipText(c)
			continue
		case strings.IndexByte(blank, c) >= 0:
			w.code = w.code[1:]
			continue
		case startsWord(w.code):
			for n < len(w.code) && startsWord(w.code[n:]) {
				n++
			}
		}
		word := w.code[:n]
		w.code = w.code[n:]
		return word
	}
	return ""
}

// startsWord reports whether the first byte is one of a name, a keyword or a number.
func startsWord(s string) bool {
	c := s[0]
	return c == '_' || c == '$' || c >= utf8.RuneSelf || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// skip skips what begins with n bytes and ends with a mark.
func (w *javaWords) skip(mark string, n int) {
	_, w.code, _ = strings.Cut(w.code[n:], mark)
}

// skipText skips a string or a character, which ends with its first byte or with the line.
func (w *javaWords) skipText(quote byte) {
	for i := 1; i < len(w.code); i++ {
		switch w.code[i] {
		case '\\':
			i++
		case quote, '\n':
			w.code = w.code[i+1:]
			return
		}
	}
	w.code = ""
}

// upTo returns the words from the first one up to a mark, joined, with a dot at the end.
func (w *javaWords) upTo(first string, mark byte) string {
	rest, _, ok := strings.Cut(w.code[:min(len(w.code), maxJavaName)], string(mark))
	if !ok {
		return ""
	}
	w.code = w.code[len(rest):]
	return first + strings.Join(strings.Fields(rest), "") + "."
}

// firstOf returns the first text that is not empty.
func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
