package e2e

import (
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// odd has cells with values that JSON cannot represent, and a text that must be in the output.
var odd = []struct{ name, code, want string }{
	{"a pair of surrogates", `print('\ud83d\ude80 done')`, "🚀 done"},
	{"half a pair", `print('x\ud800y')`, "x\ufffdy"},
	{"a pair in two texts", `print('\ud83d', end=''); print('\ude80')`, "🚀"},
	{"a pair at the border of two messages", `print('x' * 65535 + '\ud83d\ude80')`, "x🚀"},
	{"standard error", `import sys; print('x\udfffy', file=sys.stderr)`, "x\ufffdy"},
	{"a display", `display({'text/plain': '\ud83d\ude80 x\ud800y'}, raw=True)`, "🚀 x\ufffdy"},
	{"metadata", `display({'text/plain': 'shown'}, raw=True, metadata={('a', 1): '\ud800', 'o': object})`, "shown"},
	{"bytes and numbers of numpy", `import numpy as np; display({'application/json': {'b': b'x', 'n': np.int64(3), 't': np.bool_(True)}, 'text/plain': 'shown'}, raw=True)`, "shown"},
	{"an object whose repr fails", "class R:\n    def __repr__(self): 1/0\ndisplay({'application/json': [R()], 'text/plain': 'shown'}, raw=True)", "shown"},
	{"a bundle that contains itself", "d = []; d.append(d)\ndisplay({'application/json': d, 'text/plain': 'shown'}, raw=True)", "shown"},
	{"a deep bundle", "d = 1\nfor _ in range(150): d = [d]\ndisplay({'application/json': d, 'text/plain': 'shown'}, raw=True)", "shown"},
	{"a bundle too deep for Python's encoder", "for _ in range(100_000): d = [d]\ndisplay({'application/json': d, 'text/plain': 'shown'}, raw=True)", "shown"},
	{"deep metadata", "d = {}\nfor _ in range(150): d = {'a': d}\ndisplay({'text/plain': 'shown'}, raw=True, metadata=d)", "shown"},
	{"a comm", "from comm import create_comm\ncreate_comm(target_name='x', data={'a': '\\ud800', ('b',): object}).send({'c': float('nan')}); print('sent')", "sent"},
	{"the next input", `get_ipython().set_next_input('\ud800'); print('set')`, "set"},
	{"a result", `class S(str):` + "\n    def __repr__(self): return self\nS('\\ud83d\\ude80 x\\ud800y')", "🚀 x\ufffdy"},
}

func TestValuesThatJSONLacksDoNotPreventOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, o := range odd {
		t.Run(o.name, func(t *testing.T) {
			c := s.run(t, id, "print('first')\n"+o.code)
			if c.Status != cellhold.StatusOK || !strings.HasPrefix(text(c), "first\n") || !strings.Contains(text(c), o.want) {
				t.Errorf("the cell ended with %s and %.300q, want ok, first and %q", c.Status, text(c), o.want)
			}
			if got := s.must(t, id, "print('next')"); got != "next\n" {
				t.Errorf("the next cell printed %q, want %q", got, "next\n")
			}
		})
	}
}

func TestValuesThatJSONLacksArriveAsSimilarValues(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for code, want := range map[string]string{
		`{1: 'i', None: 'n', False: 'f', (1, 2): 'p'}`:                     `{"(1, 2)":"p","1":"i","false":"f","null":"n"}`,
		`{'k\udfff': '\ud83d\ude80', 'x': '\ud800'}`:                       `{"k` + "\ufffd" + `":"🚀","x":"` + "\ufffd" + `"}`,
		`[float('nan'), float('inf'), -float('inf'), 1.5]`:                 `["NaN","Infinity","-Infinity",1.5]`,
		`{'set': {1}, 'bytes': b'\xff', 'complex': 1j}`:                    `{"bytes":"/w==","complex":"1j","set":[1]}`,
		`__import__('numpy').arange(3)`:                                    `[0,1,2]`,
		`10 ** 400`:                                                        `"1` + strings.Repeat("0", 400) + `"`,
		`__import__('decimal').Decimal('1.5')`:                             `"Decimal('1.5')"`,
		`{'when': __import__('datetime').date(2020, 1, 2), 'empty': None}`: `{"empty":null,"when":"2020-01-02"}`,
	} {
		c := s.run(t, id, "display({'application/json': "+code+"}, raw=True)")
		if len(c.Outputs) != 1 || unescaped(c.Outputs[0].Data["application/json"]) != strings.Trim(want, `"`) {
			t.Errorf("%s arrives as %v, want %s", code, c.Outputs, want)
		}
	}
}

func TestAnExceptionWithValuesThatJSONLacksIsAnError(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for code, want := range map[string]string{
		`raise ValueError('bad \ud800 text')`:                                               "ValueError: bad \ufffd text",
		`e = KeyError('k'); e.add_note('\udcff'); raise e`:                                  "KeyError: 'k'",
		`open('/nope\udcff')`:                                                               "FileNotFoundError: [Errno 2] No such file or directory: '/nope\\udcff'",
		`raise OSError(2, 'no', '/nope\udcff')`:                                             "FileNotFoundError: [Errno 2] no: '/nope\\udcff'",
		"class E(Exception):\n    def __str__(self): raise RuntimeError('no')\nraise E()":   "E: <exception str() failed: E>",
		"class T(Exception):\n    def _render_traceback_(self): raise KeyError\nraise T(1)": "T: 1",
		`type('X\udbff'.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace'), (Exception,), {})` + "\nraise KeyError('\\udc00')": "KeyError: '\\udc00'",
	} {
		c := s.run(t, id, "print('before')\n"+code)
		n := len(c.Outputs)
		if c.Status != cellhold.StatusError || n != 2 || c.Outputs[0].Text != "before\n" || c.Outputs[1].Exception() != want || len(c.Outputs[1].Traceback) == 0 {
			t.Errorf("%s\nended with %s: %q, want %q", code, c.Status, text(c), want)
		}
	}
}

func TestAPromptWithHalfAPairOfSurrogatesArrives(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c, err := s.Submit(t.Context(), id, client.Code{Code: `print('got', input('which\ud800? '))`, AllowStdin: true})
	if err != nil {
		t.Fatal(err)
	}
	for ev, err := range s.Watch(t.Context(), id, c.First) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type != cellhold.EventInputRequest {
			continue
		}
		var q cellhold.InputRequestContent
		if err := ev.Decode(&q); err != nil || q.Prompt != "which\ufffd? " {
			t.Errorf("the prompt is %q, %v; want %q", q.Prompt, err, "which\ufffd? ")
		}
		if err := s.Answer(t.Context(), id, c.ID, ev.Seq, "this"); err != nil {
			t.Fatal(err)
		}
		break
	}
	if c, err = s.Wait(t.Context(), id, c.ID); err != nil || !strings.Contains(text(c), "got this") {
		t.Errorf("the cell printed %q, %v; want \"got this\"", text(c), err)
	}
}
