package template

import (
	_ "embed"
	"encoding/json"
	"strings"
)

// Python code for the kernels.
var (
	//go:embed stock.py
	stock string
	//go:embed unchanged.py
	unchanged string
	//go:embed traceless.py
	traceless string
	//go:embed settle.py
	settleCode string
	//go:embed rehearse.py
	rehearsal string

	seed       = withoutNames("import random\nrandom.seed(0)\n")
	reseeded   = withoutNames("import random\nassert random.getstate() != random.Random(0).getstate()\n")
	settle     = withoutNames(settleCode)
	firstCells = withoutNames(unchanged + "\n" + rehearsal)
)

// None disables the warm-up if it is a template's warm-up code.
const None = "none"

// warmup returns the code that a template's kernel runs: its own code, or the stock code.
func warmup(own string) string {
	switch own {
	case "":
		return withoutNames(unchanged + "\n" + stock)
	case None:
		return ""
	default:
		return withoutNames(own)
	}
}

// withoutNames wraps code so that it leaves no names in the user's namespace. A JSON string is also a valid Python
// string.
func withoutNames(code string) string {
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
