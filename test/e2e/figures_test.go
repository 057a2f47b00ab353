package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/png"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// figure decodes an output's PNG.
func figure(t *testing.T, o cellhold.Output) image.Image {
	t.Helper()
	var text string
	if err := json.Unmarshal(o.Data["image/png"], &text); err != nil {
		t.Fatalf("the output has no PNG: %v", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// threeFigures is code that draws a red, a green and a blue figure. The colours show the order.
const threeFigures = `
import matplotlib.pyplot as plt
for colour in ["red", "lime", "blue"]:
    plt.figure(figsize=(2, 1), facecolor=colour).add_axes([0, 0, 1, 1]).axis("off")
    if colour == "red":
        plt.show()
`

func TestEveryFigureOfACellArrivesInOrder(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, threeFigures)
	if c.Status != cellhold.StatusOK || len(c.Outputs) != 3 {
		t.Fatalf("got %d outputs, %s and %s; want 3 and ok", len(c.Outputs), c.Status, text(c))
	}
	for i, want := range [][3]uint32{{0xffff, 0, 0}, {0, 0xffff, 0}, {0, 0, 0xffff}} {
		img := figure(t, c.Outputs[i])
		r, g, b, _ := img.At(img.Bounds().Dx()/2, img.Bounds().Dy()/2).RGBA()
		if got := [3]uint32{r, g, b}; got != want {
			t.Errorf("figure %d has the colour %x, want %x", i, got, want)
		}
	}
}

func TestFiguresHaveTheRequestedFormats(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{Figures: &cellhold.Figures{Formats: []string{"svg"}}})
	const plot = "import matplotlib.pyplot as plt\nplt.figure(figsize=(4, 3)).savefig('/tmp/x'); plt.plot([1, 2]);"
	width := func(f *cellhold.Figures) (png int, svg bool) {
		t.Helper()
		c, err := s.Execute(t.Context(), id, client.Code{Code: plot, Figures: f})
		if err != nil || c.Status != cellhold.StatusOK || len(c.Outputs) != 1 {
			t.Fatalf("got the cell %+v, %v; want status ok and one output", c, err)
		}
		o := c.Outputs[0]
		if o.Data["image/png"] != nil {
			png = figure(t, o).Bounds().Dx()
		}
		return png, strings.Contains(string(o.Data["image/svg+xml"]), "<svg")
	}
	if png, svg := width(nil); png != 0 || !svg {
		t.Errorf("with the session's format svg: got a PNG of width %d, SVG %t; want 0, true", png, svg)
	}
	png, svg := width(&cellhold.Figures{Formats: []string{"png", "svg"}, DPI: 100})
	if png == 0 || !svg {
		t.Errorf("with the formats png and svg: got a PNG of width %d, SVG %t; want a PNG, true", png, svg)
	}
	if fine, svg := width(&cellhold.Figures{Formats: []string{"png"}, DPI: 300}); fine < 3*png-10 || fine > 3*png+10 || svg {
		t.Errorf("at 300 dpi: got the width %d, SVG %t; want about 3 times the width %d at 100 dpi, false", fine, svg, png)
	}
	if png, svg := width(nil); png != 0 || !svg {
		t.Errorf("after a cell with its own format: got a PNG of width %d, SVG %t; want 0, true", png, svg)
	}
	if _, err := s.Execute(t.Context(), id, client.Code{Code: "1", Figures: &cellhold.Figures{Formats: []string{"gif"}}}); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("an unknown format: got %v, want kind invalid", err)
	}
}
