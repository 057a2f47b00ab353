package e2e

import (
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

func TestAReprThatFailsIsAnErrorOfItsCell(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "'before'\nclass B:\n    def __repr__(self): return str(1 / 0)\n    def _repr_html_(self): return '<b>x</b>'\n"+
		"class N:\n    def __repr__(self): raise NotImplementedError('no')")
	for code, want := range map[string]string{
		"2 ** 20000":                   "ValueError: Exceeds the limit (4300 digits) for integer string conversion; use sys.set_int_max_str_digits() to increase the limit",
		"B()":                          "ZeroDivisionError: division by zero",
		"[B()]":                        "ZeroDivisionError: division by zero",
		"display(B()); print('after')": "ZeroDivisionError: division by zero",
		"N()":                          "NotImplementedError: no",
	} {
		c := s.run(t, id, code)
		if c.Status != cellhold.StatusError || len(c.Outputs) != 1 || c.Outputs[0].Exception() != want {
			t.Errorf("%s ended with %s and %q, want error and %q", code, c.Status, text(c), want)
		}
		if all := strings.Join(c.Outputs[0].Traceback, "\n"); strings.Contains(all, "cellhold_") {
			t.Errorf("%s: got the traceback\n%s\nwant no frames of the kernel", code, all)
		}
	}
}

func TestTheReprIsShownIfAnotherReprMethodFails(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, method := range []string{"_repr_html_(self)", "_repr_mimebundle_(self, **kw)", "_ipython_display_(self)", "_repr_png_(self)"} {
		s.must(t, id, "class H:\n    def __repr__(self): return 'good'\n    def "+method+": return 1 / 0")
		for _, code := range []string{"H()", "display(H())"} {
			c := s.run(t, id, code)
			if c.Status != cellhold.StatusOK || len(c.Outputs) != 2 {
				t.Fatalf("%s, %s: ended with %s and %q, want ok and 2 outputs", method, code, c.Status, text(c))
			}
			if o := c.Outputs[0]; o.Name != "stderr" || !strings.Contains(o.Text, "division by zero") {
				t.Errorf("%s, %s: got the first output %+v, want the reason on stderr", method, code, o)
			}
			if got := unescaped(c.Outputs[1].Data["text/plain"]); got != "good" {
				t.Errorf("%s, %s: the text/plain output is %q, want good", method, code, got)
			}
		}
	}
}

func TestARegisteredRepresentationOfAPlainValueIsShown(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "shown = get_ipython().display_formatter\nhtml = shown.formatters['text/html']")
	for _, c := range []struct{ register, show, mime, want string }{
		{"html.for_type(int, lambda n: f'<i>{n}</i>')", "3", "text/html", "<i>3</i>"},
		{"html.for_type_by_name('builtins', 'str', lambda s: f'<i>{s}</i>')", "'a'", "text/html", "<i>a</i>"},
		{"html.for_type(object, lambda o: '<i>object</i>')", "3.5", "text/html", "<i>object</i>"},
		{"html.singleton_printers[id(None)] = lambda o: '<i>none</i>'", "display(None)", "text/html", "<i>none</i>"},
		{"shown.mimebundle_formatter.for_type(bool, lambda b, **kw: {'text/x-own': 'own'})", "True", "text/x-own", "own"},
		{"shown.formatters['text/plain'].for_type(set, lambda o, p, cycle: p.text('a set'))", "{1}", "text/plain", "a set"},
	} {
		s.must(t, id, c.register)
		outputs := s.run(t, id, c.show).Outputs
		if len(outputs) != 1 || unescaped(outputs[0].Data[c.mime]) != c.want {
			t.Errorf("after %s, %s has the outputs %+v; want %s: %s", c.register, c.show, outputs, c.mime, c.want)
		}
	}
	s.must(t, id, "shown.ipython_display_formatter.for_type(list, lambda l: print('a list'))")
	if got := text(s.run(t, id, "[1]")); got != "a list\n" {
		t.Errorf("the function that displays lists printed %q", got)
	}
}
