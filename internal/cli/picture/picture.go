// Package picture draws pictures in terminals that can show them: by the protocol of kitty, by that of iTerm2, or as
// sixel.
//
// The pictures come from untrusted code, and a terminal decodes what it gets. So the package decodes each picture within
// limits, and the terminal gets only a picture that the package encoded itself. It does not read files.
package picture

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // figures can be JPEG
	"image/png"
	"io"
	"strings"
)

// Protocol is a way to draw pictures in a terminal.
type Protocol string

// The protocols. None means that the terminal shows no pictures.
const (
	None  Protocol = "none"
	Kitty Protocol = "kitty"
	ITerm Protocol = "iterm"
	Sixel Protocol = "sixel"
)

const (
	// maxPixels is the limit of the pixels of a picture. A screen with 4K has 8 million.
	maxPixels = 16 << 20
	// maxEncoded is the limit of the bytes of an encoded picture. Slow connections to a terminal are usual.
	maxEncoded = 8 << 20
	// kittyChunk is the limit of kitty's protocol for the text of one sequence.
	kittyChunk = 4096
)

// ErrTooLarge says that a picture is not drawn, because it is too large.
var ErrTooLarge = errors.New("the picture is too large for the terminal")

// Screen draws pictures on one terminal.
type Screen struct {
	W        io.Writer
	Protocol Protocol
	Tmux     bool // the terminal is a pane of tmux: sequences must be wrapped, except sixel, which tmux knows
}

// Draw draws a PNG or JPEG picture, and moves the cursor to the next line.
func (s Screen) Draw(data []byte) error {
	config, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("decode the picture: %w", err)
	}
	if config.Width <= 0 || config.Height <= 0 || config.Width > maxPixels/config.Height {
		return ErrTooLarge
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("decode the picture: %w", err)
	}
	var text string
	if s.Protocol == Sixel {
		text = sixel(img)
	} else {
		var clean bytes.Buffer
		if err := png.Encode(&clean, img); err != nil {
			return fmt.Errorf("encode the picture: %w", err)
		}
		text = s.sequences(clean.Bytes())
	}
	if len(text) > maxEncoded {
		return ErrTooLarge
	}
	_, err = io.WriteString(s.W, text+"\n")
	return err
}

// sequences returns the sequences that show a PNG picture.
func (s Screen) sequences(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	if s.Protocol == ITerm {
		return s.wrap(fmt.Sprintf("\x1b]1337;File=inline=1;size=%d;preserveAspectRatio=1:%s\a", len(data), text))
	}
	var out strings.Builder
	keys := "a=T,f=100,q=2," // show a PNG, and answer nothing: an answer would be typed text
	for len(text) > 0 {
		n := min(kittyChunk, len(text))
		more := 0
		if n < len(text) {
			more = 1
		}
		out.WriteString(s.wrap(fmt.Sprintf("\x1b_G%sm=%d;%s\x1b\\", keys, more, text[:n])))
		keys, text = "", text[n:]
	}
	return out.String()
}

// wrap returns a sequence that tmux passes on to its terminal, if its option allow-passthrough is on.
func (s Screen) wrap(sequence string) string {
	if !s.Tmux {
		return sequence
	}
	return "\x1bPtmux;" + strings.ReplaceAll(sequence, "\x1b", "\x1b\x1b") + "\x1b\\"
}
