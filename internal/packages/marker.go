package packages

import (
	"slices"
	"strings"

	"cellhold/internal/lazy"
)

// markerNames are the variables of PEP 508.
var markerNames = strings.Fields("python_version python_full_version os_name sys_platform platform_release platform_system platform_version platform_machine platform_python_implementation implementation_name implementation_version extra")

var markerToken = lazy.Regexp(`^(?:\(|\)|===|==|~=|!=|<=|>=|<|>|[a-z_]+|'[^'"\\]*'|"[^'"\\]*")`)

const (
	maxTokens = 200 // of one marker; real ones have up to 30
	maxNested = 20  // nested parentheses
)

// markers parses a marker: comparisons of a variable and a quoted text, joined by and, or and parentheses.
type markers struct {
	tokens []string
	depth  int
}

// parseMarker checks a marker and returns it with single spaces, or the reason why it is invalid.
func parseMarker(text string) (marker, why string) {
	var m markers
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimLeft(text, " \t") {
		token := markerToken().FindString(text)
		if token == "" || len(m.tokens) >= maxTokens {
			return "", "its marker contains an invalid token."
		}
		m.tokens = append(m.tokens, token)
		text = text[len(token):]
	}
	all := slices.Clone(m.tokens)
	if !m.either() || len(m.tokens) > 0 {
		return "", "its marker is invalid; a valid one is python_version < '3.13'."
	}
	return strings.Join(all, " "), ""
}

// take consumes the next token if it is one of these.
func (m *markers) take(tokens ...string) bool {
	if len(m.tokens) == 0 || !slices.Contains(tokens, m.tokens[0]) {
		return false
	}
	m.tokens = m.tokens[1:]
	return true
}

func (m *markers) either() bool {
	for ok := m.both(); ; ok = m.both() {
		if !ok || !m.take("or") {
			return ok
		}
	}
}

func (m *markers) both() bool {
	for ok := m.one(); ; ok = m.one() {
		if !ok || !m.take("and") {
			return ok
		}
	}
}

func (m *markers) one() bool {
	if m.take("(") {
		if m.depth++; m.depth > maxNested {
			return false
		}
		ok := m.either() && m.take(")")
		m.depth--
		return ok
	}
	left, ok := m.value()
	if !ok || !m.operator() {
		return false
	}
	right, ok := m.value()
	return ok && left != right // one side is a variable, the other is quoted
}

// value consumes a variable or a quoted text, and reports which it was.
func (m *markers) value() (variable, ok bool) {
	if len(m.tokens) == 0 {
		return false, false
	}
	if strings.ContainsRune(`'"`, rune(m.tokens[0][0])) {
		m.tokens = m.tokens[1:]
		return false, true
	}
	return true, m.take(markerNames...)
}

func (m *markers) operator() bool {
	if m.take("not") {
		return m.take("in")
	}
	return m.take("===", "==", "~=", "!=", "<=", ">=", "<", ">", "in")
}
