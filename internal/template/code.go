package template

import (
	_ "embed"
	"encoding/json"
	"strings"
)

// Code for the kernels. It leaves no names in the user's namespace.
var (
	//go:embed stock.py
	stock string
	//go:embed unchanged.py
	keeping string
	//go:embed traceless.py
	traceless string
	//go:embed settle.py
	settling string
	//go:embed rehearse.py
	rehearsal string

	seed       = without("import random\nrandom.seed(0)\n")
	reseeded   = without("import random\nassert random.getstate() != random.Random(0).getstate()\n")
	settle     = without(settling)
	firstCells = without(keeping + "\n" + rehearsal)
)

// None as a template's warm-up code disables the warm-up.
const None = "none"

// warmup returns the code that a template's kernel runs: its own code, or the stock code.
func warmup(own string) string {
	switch own {
	case "":
		return without(keeping + "\n" + stock)
	case None:
		return ""
	default:
		return without(own)
	}
}

// without wraps code so that it leaves no names behind. A JSON string is also a valid Python string.
func without(code string) string {
	text, err := json.Marshal(code)
	if err != nil {
		panic(err) // a string can always be encoded
	}
	outer, err := json.Marshal(strings.ReplaceAll(traceless, "CODE", string(text)))
	if err != nil {
		panic(err)
	}
	return "exec(" + string(outer) + ", {'__name__': '__main__'})"
}
