package attachment

import (
	"os/exec"
	"strings"
	"testing"

	"cellhold"
)

// hard are values that quotes could break.
var hard = map[string]string{"CELL_A": "it's \"$HOME\" `id` \\ é\n;", "CELL_B": "new", "CELL_C": ""}

func TestBashGetsTheVariablesOfACellAndItsFormerValuesAgain(t *testing.T) {
	before, after, err := around("bash", hard)
	if err != nil {
		t.Fatal(err)
	}
	show := `printf '%s|%s|%s|%s\n' "${CELL_A-none}" "${CELL_B-none}" "${CELL_C-none}" "$(sh -c 'echo "$CELL_B"')"` + "\n"
	out, err := exec.CommandContext(t.Context(), "bash", "-c", "export CELL_B='o l d'\n"+before+show+after+show).CombinedOutput()
	if want := hard["CELL_A"] + "|new||new\nnone|o l d|none|o l d\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

func TestALanguageWithoutVariablesOfACellIsRefused(t *testing.T) {
	if _, _, err := around("cobol", hard); cellhold.KindOf(err) != cellhold.Unsupported || !strings.Contains(err.Error(), "cobol") {
		t.Errorf("got %v, want an error that names the language", err)
	}
}

func TestAnOldAgentGivesACellNoVariables(t *testing.T) {
	a := &Attachment{version: aroundVersion - 1}
	if _, _, err := a.Around("python", hard); cellhold.KindOf(err) != cellhold.Unsupported {
		t.Errorf("got %v, want an unsupported request", err)
	}
	if before, after, err := a.Around("python", nil); err != nil || before+after != "" {
		t.Errorf("without variables: got %q, %q, %v; want nothing", before, after, err)
	}
}

func TestATextOfRHasOnlyUnicodeEscapes(t *testing.T) {
	if got, want := rText("a\"\\\n\x1bé𝄞"), `"a\"\\\U0000000a\U0000001b\U000000e9\U0001d11e"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestJavaScriptGetsTheVariablesOfACellAndItsFormerValuesAgain(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is missing")
	}
	before, after, err := around("javascript", hard)
	if err != nil {
		t.Fatal(err)
	}
	const show = "console.log(JSON.stringify(['CELL_A', 'CELL_B'].map((n) => process.env[n] ?? null)));\n"
	cmd := exec.CommandContext(t.Context(), node, "-e", before+";\n"+show+after+";\n"+show)
	cmd.Env = []string{"CELL_B=old"}
	out, err := cmd.CombinedOutput()
	if want := `["it's \"$HOME\" ` + "`id`" + ` \\ é\n;","new"]` + "\n" + `[null,"old"]` + "\n"; err != nil || string(out) != want {
		t.Errorf("got %s, %v; want %s", out, err, want)
	}
}

func TestAnOldAgentHasNoJupyterClients(t *testing.T) {
	a := &Attachment{version: wireVersion - 1}
	if _, err := a.OpenLink(t.Context(), "k"); cellhold.KindOf(err) != cellhold.Unsupported {
		t.Errorf("%v, want Unsupported", err)
	}
}

func TestAnOldAgentHasNoPorts(t *testing.T) {
	a := &Attachment{version: portVersion - 1}
	if _, err := a.DialPort(t.Context(), 8000); cellhold.KindOf(err) != cellhold.Unsupported {
		t.Errorf("%v, want Unsupported", err)
	}
}
