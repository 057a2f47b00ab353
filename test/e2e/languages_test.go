package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

func TestTheStockImageHasABashKernel(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	if _, err := s.AddKernel(t.Context(), id, "bash", ""); err != nil {
		t.Fatal(err)
	}
	if c := s.runOn(t, id, "bash", "x=5; echo $x > /workspace/shared"); c.Status != cellhold.StatusOK {
		t.Fatalf("the cell ended with %s and %s, want ok", c.Status, text(c))
	}
	if c := s.runOn(t, id, "bash", "echo $((x + 1)); no-such-command"); c.Status != cellhold.StatusError || !strings.HasPrefix(text(c), "6\n") {
		t.Errorf("the cell ended with %s and %q, want error and 6", c.Status, text(c))
	}
	if got := s.must(t, id, "print(open('/workspace/shared').read())"); strings.TrimSpace(got) != "5" {
		t.Errorf("Python reads %q, want 5", got)
	}
	s.checkBashStreams(t, id)
}

// checkBashStreams runs a loop, reads its output while it runs, interrupts it, and checks the variables.
func (s *server) checkBashStreams(t *testing.T, id cellhold.SessionID) {
	t.Helper()
	c, err := s.Submit(t.Context(), id, client.Code{Kernel: "bash", Code: "while true; do echo again; sleep 0.1; done", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitText(t, c)
	if err := s.Interrupt(t.Context(), id, "bash"); err != nil {
		t.Fatal(err)
	}
	if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusInterrupted {
		t.Errorf("the loop ended with %s (%s), %v; want interrupted", c.Status, c.Cause, err)
	}
	if c := s.runOn(t, id, "bash", "echo $x"); text(c) != "5\n" {
		t.Errorf("after the interrupt x is %q, want 5", text(c))
	}
}

func TestThePolyglotRecipeHasRAndJavaScript(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{Image: "polyglot"}) // if the image is missing, run: make polyglot
	for spec, cells := range map[string][][2]string{
		"ir": {
			{"x <- c(1, 2, 3); mean(x)", "[1] 2"},
			{"cat(sum(x), 'größe 日本語\\n')", "6 größe 日本語"},
		},
		"javascript": {
			{"let x = [1, 2, 3].map(n => n * 2); x", "[ 2, 4, 6 ]"},
			{"console.log(x.length, 'größe 日本語')", "3 größe 日本語"},
		},
		"bash": {{"x=7", ""}, {"echo $x", "7"}},
	} {
		t.Run(spec, func(t *testing.T) {
			if _, err := s.AddKernel(t.Context(), id, spec, ""); err != nil {
				t.Fatal(err)
			}
			for _, cell := range cells {
				c := s.runOn(t, id, cellhold.KernelID(spec), cell[0])
				if c.Status != cellhold.StatusOK || !strings.Contains(text(c), cell[1]) {
					t.Errorf("%s\nended with %s and %q, want ok and %q", cell[0], c.Status, text(c), cell[1])
				}
			}
		})
	}
	if got := s.must(t, id, "6 * 7"); got != "42" {
		t.Errorf("Python prints %q, want 42", got)
	}
	s.checkRPlot(t, id)
	s.checkErrors(t, id)
	s.checkInterrupt(t, id, "ir", "kept <- 5", "cat('begun\\n'); flush.console(); repeat {}", "cat(kept)")
	s.checkInterrupt(t, id, "javascript", "var kept = 5", "console.log('begun'); await new Promise(r => setTimeout(r, 60000))", "console.log(kept)")
}

// checkInterrupt interrupts a running cell, and checks that the variable of an earlier cell is kept.
func (s *server) checkInterrupt(t *testing.T, id cellhold.SessionID, k cellhold.KernelID, before, code, after string) {
	t.Helper()
	s.runOn(t, id, k, before)
	c, err := s.Submit(t.Context(), id, client.Code{Kernel: k, Code: code, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitText(t, c)
	if err := s.Interrupt(t.Context(), id, k); err != nil {
		t.Fatal(err)
	}
	if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusInterrupted {
		t.Errorf("%s: ended with %s (%s) %q, %v; want interrupted", k, c.Status, c.Cause, text(c), err)
	}
	if c := s.runOn(t, id, k, after); strings.TrimSpace(text(c)) != "5" {
		t.Errorf("%s: after the interrupt the kernel prints %q (%s), want 5", k, text(c), c.Status)
	}
}

// checkRPlot checks the figures and the table of an R cell.
func (s *server) checkRPlot(t *testing.T, id cellhold.SessionID) {
	t.Helper()
	c := s.runOn(t, id, "ir", "plot(1:3, main = 'größe')\nlibrary(ggplot2)\nggplot(data.frame(a = 1:3), aes(a, a)) + geom_line()\nhead(data.frame(größe = 1:2))")
	figures := slices.DeleteFunc(slices.Clone(c.Outputs), func(o cellhold.Output) bool { return o.Data["image/png"] == nil })
	if c.Status != cellhold.StatusOK || len(figures) != 2 {
		t.Fatalf("got %d figures, %s and %s; want 2 and ok", len(figures), c.Status, text(c))
	}
	for _, o := range figures {
		if size := figure(t, o).Bounds(); size.Dx() < 300 {
			t.Errorf("a figure has the size %v, want a width of at least 300", size)
		}
	}
	if !slices.ContainsFunc(c.Outputs, func(o cellhold.Output) bool { return strings.Contains(unescaped(o.Data["text/html"]), "größe") }) {
		t.Errorf("got the outputs %+v, want an HTML table with größe", c.Outputs)
	}
}

// checkErrors checks that an error of each language is an error output.
func (s *server) checkErrors(t *testing.T, id cellhold.SessionID) {
	t.Helper()
	for kernel, code := range map[cellhold.KernelID]string{"ir": "stop('no good')", "javascript": "throw new Error('no good')"} {
		c := s.runOn(t, id, kernel, code)
		if c.Status != cellhold.StatusError || !strings.Contains(text(c)+strings.Join(tracebacks(c), ""), "no good") {
			t.Errorf("%s: the cell ended with %s and %q, want error and \"no good\"", kernel, c.Status, text(c))
		}
	}
}

func tracebacks(c cellhold.Cell) []string {
	var all []string
	for _, o := range c.Outputs {
		all = append(all, o.Traceback...)
	}
	return all
}
