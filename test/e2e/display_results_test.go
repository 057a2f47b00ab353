package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

func TestAResultWithADisplayIDCanBeUpdated(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, metadata := range []string{"{'display_id': 'bar'}", "{'transient': {'display_id': 'bar'}, 'kept': 1}"} {
		c := s.run(t, id, "from IPython.display import update_display\nclass Bar:\n    def _repr_mimebundle_(self, **_): return {'text/plain': '0 %'}, "+metadata+"\nBar()")
		if len(c.Outputs) != 1 || c.Outputs[0].Type != cellhold.EventExecuteResult || c.Outputs[0].DisplayID != "bar" || text(c) != "0 %" {
			t.Fatalf("%s: got %+v, want one result with the display id bar and the text 0 %%", metadata, c.Outputs)
		}
		if raw := c.Outputs[0].Metadata; raw["display_id"] != nil || raw["transient"] != nil {
			t.Errorf("got the metadata %s, want no display_id and no transient", raw)
		}
		s.must(t, id, "update_display('100 %', display_id='bar')")
		c, err := s.Cell(t.Context(), id, c.ID)
		if err != nil || text(c) != "'100 %'" || c.Outputs[0].Type != cellhold.EventExecuteResult || c.Outputs[0].ExecutionCount == 0 {
			t.Errorf("%s: after the update the output is %+v, %v; want '100 %%' in an execute_result", metadata, c.Outputs, err)
		}
		c = s.run(t, id, "update_display('here', display_id='own')\nclass Own(Bar):\n    def _repr_mimebundle_(self, **_): return {'text/plain': 'x'}, {'display_id': 'own'}\ndisplay(Own())\nupdate_display('again', display_id='own')")
		if len(c.Outputs) != 1 || text(c) != "'again'" {
			t.Errorf("an update in the same cell: got %+v, want one output 'again'", c.Outputs)
		}
	}
}

func TestTextForAPagerIsAnOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "open('other.py', 'w').write('print(6 * 7)')\ndef f(x):\n    '''Adds one.'''\n    return x + 1")
	for _, x := range []struct {
		code string
		says []string
	}{
		{"f?", []string{"Signature: f(x)", "Adds one.", "Type:"}},
		{"f??", []string{"return x + 1"}},
		{"?f", []string{"Adds one."}},
		{"%pinfo f", []string{"Adds one."}},
		{"%pdoc f", []string{"Adds one."}},
		{"%psource f", []string{"return x + 1"}},
		{"%page f", []string{"function f"}},
		{"%prun -l 3 f(1)", []string{"function calls", "cumtime"}},
		{"%%prun\nf(1)", []string{"function calls"}},
		{"%quickref", []string{"IPython -- An enhanced Interactive Python"}},
		{"%less other.py", []string{"print(6 * 7)"}},
		{"%load other.py", []string{"The next input is:\n", "print(6 * 7)"}},
		{"%recall 1", []string{"The next input is:\n", "open('other.py', 'w')"}},
	} {
		c := s.run(t, id, x.code)
		got := ""
		for _, o := range c.Outputs {
			if o.Type == cellhold.EventDisplayData {
				var s string
				if err := json.Unmarshal(o.Data["text/plain"], &s); err != nil {
					t.Errorf("%s: the text is %s, want a string", x.code, o.Data["text/plain"])
				}
				got += s
			}
		}
		for _, want := range x.says {
			if !strings.Contains(got, want) || strings.Contains(got, "\x1b[") || c.Status != cellhold.StatusOK {
				t.Errorf("%s\nended with %s and shows %.500q, want %q", x.code, c.Status, got, want)
			}
		}
	}
}
