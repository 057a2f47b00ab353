package guestapi

import "errors"

// The bounds of events, the only ones that can make the host leave out an event. The agent keeps all of them, so the
// host refuses no event of a correct agent. The host checks all of them, because it does not trust the guest. A test
// fails if only one side uses a bound. Sizes are in bytes, after the JSON is decoded, unless a comment says otherwise.
const (
	// MaxEvent is the limit of one encoded event. It is large enough for a big plotly figure or image, and small enough
	// to hold one line per session in memory.
	MaxEvent = 16 << 20
	// MaxHead is the limit of the fields before the content of an encoded event.
	MaxHead = 1 << 10
	// MaxLevels is the limit of the nested lists and objects in the content of an event. Output formats stay below 30.
	// Encoders and parsers of some languages fail at a few hundred levels.
	MaxLevels = 90
	// MaxStream is the limit of text in one stream event. Longer text is cut into several events. So readers see
	// progress, and no program must hold a line of 1 GiB.
	MaxStream = 128 << 10
	// MaxTypes is the limit of the MIME types of one output, and of the entries of its metadata. Real outputs have up to
	// 5.
	MaxTypes = 64
	// MaxName is the limit of a MIME type, of a name in the metadata and of a display id.
	MaxName = 256
	// MaxErrorText is the limit of the name of an exception, and of its text. The limit in the Python kernel of the stock
	// image is half of it.
	MaxErrorText = 64 << 10
	// MaxTraceback is the limit of a traceback. Each line counts with TracebackLine more bytes, so that empty lines have
	// a limit too.
	MaxTraceback  = 129 << 10
	TracebackLine = 16
	// MaxPrompt is the limit of the prompt of input(). A person reads it.
	MaxPrompt = 4 << 10
	// MaxInfoText is the limit of a name in the description of a kernel, in characters. MaxLanguageInfo is the limit of
	// its encoded language_info. Real ones have 300 bytes.
	MaxInfoText     = 200
	MaxLanguageInfo = 16 << 10
	// MaxCellFiles is the limit of the files that are reported for one cell, and MaxFilePath that of each path.
	MaxCellFiles = 100
	MaxFilePath  = 4095
)

// MaxContent is the limit of the encoded content of an event.
const MaxContent = MaxEvent - MaxHead

// ErrForm marks data of an agent that does not have the form of this contract and cannot be skipped. A retry gets the
// same data again.
var ErrForm = errors.New("the agent broke the protocol")
