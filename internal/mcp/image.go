package mcp

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	scale "golang.org/x/image/draw"
)

const (
	// maxImages is the maximum number of images in a result.
	maxImages = 8
	// maxSide is the maximum width and height of an image in pixels. Models scale larger ones down.
	maxSide = 1500
	// maxEncoded is the maximum size of an image in bytes.
	maxEncoded = 1 << 20
	// maxPixels is the maximum number of pixels that are decoded: 64 MiB of memory for an image with 16 bits.
	maxPixels = 8 << 20
	// maxSourceSide is the maximum width and height of an image that is decoded. Scaling needs memory and time for the
	// longest side too.
	maxSourceSide = 16384
	// maxSmooth is the maximum number of pixels that are scaled by the better and slower method.
	maxSmooth = 2 << 20
	// maxSource is the maximum size of an image from a sandbox in bytes.
	maxSource = 16 << 20
)

// imageTime is the time for all images of an answer, and for an image of read_file. Images after it are not shown.
const imageTime = 5 * time.Second

// turns limits work that needs much memory, for all callers together.
type turns chan struct{}

var (
	// decoding allows one image at a time.
	decoding = make(turns, 1)
	// reading allows four files with images at a time. A sandbox can make its own files slow, so these turns are apart.
	reading = make(turns, 4)
)

// errBusy means that the time for images is over.
var errBusy = errors.New("the server is busy with other images")

// take waits for a turn until ctx ends. The caller must call release.
func (t turns) take(ctx context.Context) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, errBusy
	}
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, errBusy
	}
}

// decodeBase64 decodes the value of a MIME type that holds an image.
func decodeBase64(value json.RawMessage) ([]byte, error) {
	if len(value) > maxSource/3*4 {
		return nil, fmt.Errorf("it has more than %d MiB", maxSource>>20)
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, errors.New("it is not text")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	return raw, nil
}

// picture returns a PNG or JPEG as content with bounded size. It decodes every image, because a program can refuse the
// whole conversation if one image is damaged. It returns errBusy if ctx ends before the image's turn.
func picture(ctx context.Context, raw []byte) (*sdk.ImageContent, error) {
	if len(raw) > maxSource {
		return nil, fmt.Errorf("it has more than %d MiB", maxSource>>20)
	}
	config, format, err := image.DecodeConfig(bytes.NewReader(raw))
	if err != nil {
		return nil, errors.New("it is not a PNG or JPEG")
	}
	if config.Width < 1 || config.Height < 1 || config.Width > maxPixels/config.Height {
		return nil, fmt.Errorf("it has %d × %d pixels, the limit is %d", config.Width, config.Height, maxPixels)
	}
	if side := max(config.Width, config.Height); side > maxSourceSide {
		return nil, fmt.Errorf("a side has %d pixels, the limit is %d", side, maxSourceSide)
	}
	release, err := decoding.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	img, _, err := image.Decode(bytes.NewReader(raw))
	if err != nil {
		return nil, errors.New("it is damaged")
	}
	if max(config.Width, config.Height) <= maxSide && len(raw) <= maxEncoded {
		return &sdk.ImageContent{Data: raw, MIMEType: "image/" + format}, nil
	}
	return encode(img)
}

// encode scales an image down until it is small enough.
func encode(img image.Image) (*sdk.ImageContent, error) {
	for side := maxSide; side > 1; side /= 2 {
		small := fit(img, side)
		var out bytes.Buffer
		if err := png.Encode(&out, small); err == nil && out.Len() <= maxEncoded {
			return &sdk.ImageContent{Data: out.Bytes(), MIMEType: "image/png"}, nil
		}
		out.Reset()
		if err := jpeg.Encode(&out, opaque(small), &jpeg.Options{Quality: 85}); err == nil && out.Len() <= maxEncoded {
			return &sdk.ImageContent{Data: out.Bytes(), MIMEType: "image/jpeg"}, nil
		}
	}
	return nil, errors.New("it cannot be made small enough")
}

// fit returns an image whose sides have at most side pixels.
func fit(img image.Image, side int) image.Image {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	longest := max(w, h)
	if longest <= side {
		return img
	}
	small := image.NewNRGBA(image.Rect(0, 0, max(1, w*side/longest), max(1, h*side/longest)))
	var method scale.Scaler = scale.CatmullRom
	if w*h > maxSmooth {
		method = scale.ApproxBiLinear
	}
	method.Scale(small, small.Bounds(), img, img.Bounds(), scale.Src, nil)
	return small
}

// opaque draws an image on white, because a JPEG has no transparency.
func opaque(img image.Image) image.Image {
	out := image.NewRGBA(img.Bounds())
	draw.Draw(out, out.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(out, out.Bounds(), img, img.Bounds().Min, draw.Over)
	return out
}
