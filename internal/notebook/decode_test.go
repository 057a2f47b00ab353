package notebook

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf16"

	"cellhold"
)

// foreign is a notebook in the form that programs in other languages write.
const foreign = `{"cells":[{"cell_type":"code","execution_count":1,"metadata":{"x":NaN},"source":["print('NaN, Infinity')"],"outputs":[
 {"output_type":"display_data","metadata":{},"data":{"application/json":{"a":[NaN,Infinity,-Infinity,1],"b":"NaN \" Infinity"},"text/plain":7}}]}],
 "metadata":{},"nbformat":4,"nbformat_minor":0}`

func TestANotebookIsReadAsOtherProgramsWriteIt(t *testing.T) {
	for name, raw := range map[string]string{
		"plain":                   foreign,
		"a byte order mark":       "\ufeff" + foreign,
		"a mark and line ends":    "\ufeff\r\n" + foreign + "\r\n\r\n",
		"zero bytes at its end":   foreign + "\x00\x00",
		"a format with a point":   strings.Replace(foreign, `"nbformat":4`, `"nbformat":4.0`, 1),
		"a source that is a text": strings.Replace(foreign, `["print('NaN, Infinity')"]`, `"print('NaN, Infinity')"`, 1),
	} {
		n, err := Read([]byte(raw))
		if err != nil || len(n.Cells) != 1 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c := n.Cells[0]
		if c.Code != "print('NaN, Infinity')" || string(c.Metadata["x"]) != `"NaN"` {
			t.Errorf("%s: the source is %q, the metadata %s", name, c.Code, c.Metadata["x"])
		}
		data := c.Outputs[0].Data
		if got := string(data["application/json"]); got != `{"a":["NaN","Infinity","-Infinity",1],"b":"NaN \" Infinity"}` || string(data["text/plain"]) != `"7"` {
			t.Errorf("%s: the output is %s, %s", name, got, data["text/plain"])
		}
	}
}

func TestAnInvalidNotebookFileIsRefusedWithTheReason(t *testing.T) {
	wide := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(foreign)) {
		wide = append(wide, byte(unit), byte(unit>>8))
	}
	for reason, raw := range map[string]string{
		"encoded in UTF-16. Save it in UTF-8": string(wide),
		"encoded in UTF-32":                   "\xff\xfe\x00\x00{\x00\x00\x00",
		"notebook, 5 more bytes follow":       foreign + "extra",
		"is cut off after 100 bytes":          foreign[:100],
		"is not JSON: invalid character 'N'":  "Not a notebook",
		"is cut off after 0 bytes":            " \n",
		"only format 4 can be read":           `{"worksheets":[{"cells":[]}],"metadata":{},"nbformat":3,"nbformat_minor":0}`,
		"JSON is not a notebook":              `[NaN]`,
		"nested deeper than 100 levels":       `{"nbformat":4,"cells":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`,
		"notebook, 3 more bytes follow":       `{ }{ }`,
	} {
		_, err := Read([]byte(raw))
		if cellhold.KindOf(err) != cellhold.Invalid || !strings.Contains(err.Error(), reason) {
			t.Errorf("got %v, want %q", err, reason)
		}
	}
}

func TestNaNIsQuotedOnlyOutsideStrings(t *testing.T) {
	for raw, want := range map[string]string{
		`["NaN\\",NaN]`:        `["NaN\\","NaN"]`,
		`{"a\"NaN":-Infinity}`: `{"a\"NaN":"-Infinity"}`,
		`[1]`:                  `[1]`,
		`"Infinity`:            `"Infinity`,
		`"NaN\`:                `"NaN\`,
	} {
		if got := string(quoteNaN([]byte(raw))); got != want || json.Valid([]byte(want)) != json.Valid([]byte(got)) {
			t.Errorf("%s becomes %s, want %s", raw, got, want)
		}
	}
}
