package picture

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"strings"
)

const (
	// maxSixelWidth is the limit of the width of a sixel picture in pixels. Terminals do not scale such pictures.
	maxSixelWidth = 800
	// maxSixelHeight is the limit of the height after that. It is more than one page of a screen.
	maxSixelHeight = 2400
	// bandHeight is the number of rows that one line of sixel has.
	bandHeight = 6
)

// sixel returns a picture as a sixel sequence with the colours of the web.
func sixel(ctx context.Context, img image.Image) (string, error) {
	img = narrowed(img)
	size := img.Bounds().Size()
	if size.Y > maxSixelHeight {
		return "", ErrTooLarge
	}
	flat := image.NewRGBA(image.Rect(0, 0, size.X, size.Y))
	draw.Draw(flat, flat.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(flat, flat.Bounds(), img, img.Bounds().Min, draw.Over)
	indexed := image.NewPaletted(flat.Bounds(), palette.WebSafe)
	draw.FloydSteinberg.Draw(indexed, flat.Bounds(), flat, image.Point{})
	var out strings.Builder
	fmt.Fprintf(&out, "\x1bPq\"1;1;%d;%d", size.X, size.Y)
	for i, c := range palette.WebSafe {
		r, g, b, _ := c.RGBA()
		fmt.Fprintf(&out, "#%d;2;%d;%d;%d", i, r*100/0xffff, g*100/0xffff, b*100/0xffff)
	}
	for top := 0; top < size.Y; top += bandHeight {
		switch {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case out.Len() > maxEncoded:
			return "", ErrTooLarge
		}
		band(&out, indexed, top)
		out.WriteByte('-')
	}
	out.WriteString("\x1b\\")
	return out.String(), nil
}

// band writes the six rows that begin at top, one colour after the other.
func band(out *strings.Builder, img *image.Paletted, top int) {
	width, height := img.Rect.Dx(), min(bandHeight, img.Rect.Dy()-top)
	var used [256]bool
	for y := top; y < top+height; y++ {
		for _, c := range img.Pix[y*img.Stride : y*img.Stride+width] {
			used[c] = true
		}
	}
	for c := range used {
		if !used[c] {
			continue
		}
		fmt.Fprintf(out, "#%d", c)
		run, last := 0, byte(0)
		for x := range width {
			bits := byte(0)
			for y := range height {
				if int(img.Pix[(top+y)*img.Stride+x]) == c {
					bits |= 1 << y
				}
			}
			if bits != last && run > 0 {
				repeat(out, run, last)
				run = 0
			}
			last = bits
			run++
		}
		repeat(out, run, last)
		out.WriteByte('$') // back to the beginning of the band, for the next colour
	}
}

// repeat writes a column several times.
func repeat(out *strings.Builder, n int, bits byte) {
	if n > 3 {
		fmt.Fprintf(out, "!%d%c", n, '?'+bits)
		return
	}
	for range n {
		out.WriteByte('?' + bits)
	}
}

// narrowed returns a picture that is at most maxSixelWidth wide. It takes the nearest pixel.
func narrowed(img image.Image) image.Image {
	b := img.Bounds()
	if b.Dx() <= maxSixelWidth {
		return img
	}
	height := max(b.Dy()*maxSixelWidth/b.Dx(), 1)
	small := image.NewRGBA(image.Rect(0, 0, maxSixelWidth, height))
	for y := range height {
		for x := range maxSixelWidth {
			small.Set(x, y, img.At(b.Min.X+x*b.Dx()/maxSixelWidth, b.Min.Y+y*b.Dy()/height))
		}
	}
	return small
}
