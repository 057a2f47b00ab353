package mcp

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"strings"
	"testing"

	"cellhold"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// drawing returns a PNG. A noisy one cannot be compressed.
func drawing(t *testing.T, w, h int, noisy bool) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range img.Pix {
		img.Pix[i] = 0xff
		if noisy && i%4 != 3 {
			img.Pix[i] = uint8(random.UintN(256))
		}
	}
	img.Set(0, 0, color.Black)
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestASmallImageIsUnchanged(t *testing.T) {
	raw := drawing(t, 640, 480, false)
	got, err := picture(t.Context(), raw)
	if err != nil || got.MIMEType != "image/png" || !bytes.Equal(got.Data, raw) {
		t.Errorf("got %v, %v; want the same PNG", got, err)
	}
}

func TestALargeImageIsScaledDown(t *testing.T) {
	for name, raw := range map[string][]byte{"wide": drawing(t, 3000, 1000, false), "noisy": drawing(t, 1400, 1400, true)} {
		got, err := picture(t.Context(), raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		config, _, err := image.DecodeConfig(bytes.NewReader(got.Data))
		if err != nil || max(config.Width, config.Height) > maxSide || len(got.Data) > maxEncoded {
			t.Errorf("%s: got %d × %d pixels in %d bytes, %v; want at most %d pixels and %d bytes", name, config.Width, config.Height, len(got.Data), err, maxSide, maxEncoded)
		}
		if name == "wide" && (config.Width != 1500 || config.Height != 500) {
			t.Errorf("wide: got %d × %d, want 1500 × 500", config.Width, config.Height)
		}
	}
}

func TestAnImageThatIsNotSafeIsRefused(t *testing.T) {
	raw := drawing(t, 10, 10, false)
	bomb := bytes.Clone(raw)
	copy(bomb[16:24], []byte{0, 1, 0, 0, 0, 1, 0, 0}) // 65,536 × 65,536 pixels
	tall := drawing(t, 1, maxSourceSide+1, false)
	for name, raw := range map[string][]byte{"tall": tall, "bomb": bomb, "cut": raw[:len(raw)-20], "text": []byte("hello"), "empty": nil} {
		if got, err := picture(t.Context(), raw); err == nil {
			t.Errorf("%s: got an image of %d bytes, want an error", name, len(got.Data))
		}
	}
}

func TestImagesWaitForTheirTurnUntilTheirTimeEnds(t *testing.T) {
	release, err := decoding.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() {
		_, err := picture(ctx, drawing(t, 4, 4, false))
		waiting <- err
	}()
	cancel()
	if err := <-waiting; !errors.Is(err, errBusy) {
		t.Errorf("while another image is decoded: got %v, want %v", err, errBusy)
	}
	release()
	c := call{request: &sdk.CallToolRequest{Params: &sdk.CallToolParamsRaw{}}}
	got := c.showCell(ctx, cellhold.Cell{Session: "s1", ID: "c1", State: cellhold.CellDone, Status: cellhold.StatusOK,
		Outputs: []cellhold.Output{figure(t, drawing(t, 4, 4, false))}}, "")
	if text := got.Content[0].(*sdk.TextContent).Text; len(got.Content) != 1 || !strings.Contains(text, "An image is not shown") || !strings.Contains(text, "cellhold://s1/notebook") {
		t.Errorf("after the time: got %d parts and %q, want a note about the notebook", len(got.Content), text)
	}
}

func figure(t *testing.T, raw []byte) cellhold.Output {
	t.Helper()
	value, err := json.Marshal(base64.StdEncoding.EncodeToString(raw))
	if err != nil {
		t.Fatal(err)
	}
	return cellhold.Output{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{"image/png": value, "text/plain": json.RawMessage(`"<Figure>"`)}}
}

func rich(kind, value string) cellhold.Output {
	return cellhold.Output{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{kind: json.RawMessage(value), "text/plain": json.RawMessage(`"<object>"`)}}
}

// answer returns the answer for a cell with these outputs, and its text.
func answer(t *testing.T, cell cellhold.Cell) (*sdk.CallToolResult, string) {
	t.Helper()
	c := call{request: &sdk.CallToolRequest{Params: &sdk.CallToolParamsRaw{Meta: sdk.Meta{sdk.MetaKeyProtocolVersion: linked}}}}
	cell.Session, cell.ID, cell.State = "s1", "c1", cellhold.CellDone
	got := c.showCell(t.Context(), cell, "")
	return got, got.Content[0].(*sdk.TextContent).Text
}

func TestAnAnswerHasAtMostEightImages(t *testing.T) {
	var outputs []cellhold.Output
	for range 10 {
		outputs = append(outputs, figure(t, drawing(t, 4, 4, false)))
	}
	got, text := answer(t, cellhold.Cell{Outputs: outputs, Status: cellhold.StatusOK})
	images := 0
	for _, c := range got.Content {
		if _, ok := c.(*sdk.ImageContent); ok {
			images++
		}
	}
	if images != maxImages || strings.Count(text, "One more image") != 2 || strings.Contains(text, "<Figure>") {
		t.Errorf("got %d images and the text %q, want %d and notes for 2 more", images, text, maxImages)
	}
	if link, ok := got.Content[len(got.Content)-1].(*sdk.ResourceLink); !ok || link.URI != "cellhold://s1/notebook" {
		t.Errorf("got the last content %v, want a link to the notebook", got.Content[len(got.Content)-1])
	}
}

func TestDamagedImagesCountToo(t *testing.T) {
	var outputs []cellhold.Output
	for range 10 {
		outputs = append(outputs, figure(t, []byte("damaged")))
	}
	_, text := answer(t, cellhold.Cell{Outputs: outputs, Status: cellhold.StatusOK})
	if n := strings.Count(text, "cannot be shown"); n != maxImages {
		t.Errorf("got %d decoded images, want %d", n, maxImages)
	}
}

func TestADamagedImageIsANote(t *testing.T) {
	for _, o := range []cellhold.Output{figure(t, []byte("x")), rich("image/png", `"?"`), rich("image/png", `{}`), rich("image/jpeg", `null`)} {
		got, text := answer(t, cellhold.Cell{Outputs: []cellhold.Output{o}, Status: cellhold.StatusOK})
		if _, ok := got.Content[min(1, len(got.Content)-1)].(*sdk.ImageContent); ok || !strings.Contains(text, "cannot be shown") {
			t.Errorf("got %q, want a note without an image", text)
		}
	}
}

func TestResultsThatAreNotTextHaveANote(t *testing.T) {
	for kind, want := range map[string]string{
		"image/svg+xml": "SVG", "text/html": "HTML", "application/vnd.plotly.v1+json": "plotly", "application/vnd.vegalite.v5+json": "Vega",
	} {
		_, text := answer(t, cellhold.Cell{Outputs: []cellhold.Output{rich(kind, `"x"`)}, Status: cellhold.StatusOK})
		if !strings.Contains(text, want) || !strings.Contains(text, "cellhold://s1/notebook") {
			t.Errorf("%s: got %q, want a note about %s with a link", kind, text, want)
		}
	}
}
