// Package prose checks the language of the project's texts: Markdown files, help and doc tags, descriptions of the
// HTTP API, error messages, and comments. CONTRIBUTING.md has the rules; this package checks a part of them.
package prose

import (
	"fmt"
	"regexp"
	"strings"
)

// maxWords is the maximum number of words in a sentence. Writers aim at 20.
const maxWords = 30

// banned are the words that texts must not have, each with a plainer word.
var banned = map[string]string{
	`anew`:                               "again, or new",
	`besides?`:                           "next to, with, or and",
	`mend(s|ed|ing)?`:                    "fix, or repair",
	`meanwhile`:                          "at the same time, or since then",
	`at the (most|least)`:                "at most, or at least",
	`sorts? of`:                          "kind of, or type of",
	`whoever|whomever|nobody|no one`:     "the noun: a caller, no session",
	`(is|are|was|were) to be`:            "must be, or will be",
	`puts? out`:                          "prints, or outputs",
	`takes? up again`:                    "resumes",
	`hand(s|ed|ing)? in`:                 "upload, or submit",
	`likewise`:                           "the thing itself, said again",
	`lets? go of`:                        "releases",
	`go(es|ing)? on|went on`:             "continues",
	`vouch(es)?`:                         "trusts, or signs",
	`in vain`:                            "without result",
	`suspend(s|ed|ing)?`:                 "hibernate (a session), or pause (a sandbox)",
	`asleep|sleepers?`:                   "hibernated",
	`perhaps|hence|thus|upon`:            "maybe, so, on",
	`thereof|therein|thereby|wherein`:    "the noun",
	`as a whole|by and by|ere|lest`:      "the plain word",
	`bed(time)?|moody|restless|stranger`: "no metaphor: say what happens",
	`(for|of|by|from|to|with) who`:       "the noun: for a caller that",
	`(for|of|by|from) what`:              "the noun: of the files that",
	`which (is|are) the (most|limit)`:    "the limit is N",
}

// rule is an expression that texts must not have, and the advice to the writer.
type rule struct {
	pattern *regexp.Regexp
	advice  string
}

var rules = func() (list []rule) {
	for words, instead := range banned {
		list = append(list, rule{regexp.MustCompile(`(?i)\b(` + words + `)\b`), "write " + instead})
	}
	return list
}()

var (
	headless    = regexp.MustCompile(`^(Of|What|Who|Whose|Whoever|Whatever)\b[^?]*$`)
	sentenceEnd = regexp.MustCompile(`[.!?:;]["')*_]*(\s+|$)`)
	word        = regexp.MustCompile(`[\pL\pN_'’./%-]+`)
	code        = regexp.MustCompile("`[^`]*`")
	link        = regexp.MustCompile(`\]\([^)]*\)|<https?://[^>]*>|https?://\S+`)
)

// Check returns what is wrong with one paragraph of plain text: the rule, and the words that break it.
func Check(text string) (found []string) {
	plain := link.ReplaceAllString(code.ReplaceAllString(text, "CODE"), "]")
	for _, r := range rules {
		if hit := r.pattern.FindString(plain); hit != "" {
			found = append(found, fmt.Sprintf("%q: %s", hit, r.advice))
		}
	}
	for _, s := range sentences(plain) {
		if headless.MatchString(s) {
			found = append(found, fmt.Sprintf("%q: begin with the noun, not with Of, What or Who", shorten(s)))
		}
		if n := len(word.FindAllString(s, -1)); n > maxWords {
			found = append(found, fmt.Sprintf("%q: %d words; at most %d in a sentence", shorten(s), n, maxWords))
		}
	}
	return found
}

// sentences splits a paragraph. A colon or semicolon ends a sentence too: what follows can be read alone.
func sentences(text string) (list []string) {
	text = strings.Join(strings.Fields(text), " ")
	for len(text) > 0 {
		end := len(text)
		if at := sentenceEnd.FindStringIndex(text); at != nil {
			end = at[1]
		}
		list = append(list, strings.TrimSpace(text[:end]))
		text = text[end:]
	}
	return list
}

func shorten(s string) string {
	if len(s) > 70 {
		return s[:67] + "…"
	}
	return s
}
