"""Adds attributes of Python's own streams to the kernel's streams: buffer, reconfigure, encoding, errors, detach.

The output of a cell is text. So bytes are decoded in the encoding of the stream, in order with printed text. fileno
returns the descriptor whose output belongs to the cell; nobody would see the output of ipykernel's own. close only
flushes, because a session with a closed sys.stdout could not print any more.
"""

import codecs
import io

from ipykernel import iostream

PIECE = 64 << 10  # bytes that become text at once


class Binary(io.BufferedIOBase):
    """Writes bytes to a stream of text."""

    def __init__(self, text):
        self._text = text
        self._decoder = codecs.getincrementaldecoder(text.encoding)("replace")

    name = property(lambda self: self._text.name)
    mode = "wb"

    @property
    def raw(self):
        return self

    def write(self, data):
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        with memoryview(data) as view, view.cast("B") as octets:
            for i in range(0, len(octets), PIECE):
                self._text.write(self._decoder.decode(octets[i : i + PIECE]))
            return len(octets)

    def flush(self):
        self._text.flush()

    def close(self):
        self.flush()

    def writable(self):
        return True

    def isatty(self):
        return self._text.isatty()

    def fileno(self):
        return self._text.fileno()


def _buffer(stream):
    if (binary := stream.__dict__.get("_binary")) is None:
        binary = stream._binary = Binary(stream)
    return binary


def _reconfigure(stream, *, encoding=None, errors=None, newline=None, line_buffering=None, write_through=None):
    """Takes the parameters of io.TextIOWrapper.reconfigure. The encoding applies to bytes only: text is shown unchanged."""
    if encoding is not None:
        codecs.lookup(encoding)
    if errors is not None:
        codecs.lookup_error(errors)
    if newline not in (None, "", "\n", "\r", "\r\n"):
        raise ValueError(f"illegal newline value: {newline!r}")
    stream.flush()
    if encoding is not None and encoding != stream.encoding:
        stream.encoding = encoding
        stream.__dict__.pop("_binary", None)
    if errors is not None:
        stream.errors = errors
    for name, value in (("line_buffering", line_buffering), ("write_through", write_through)):
        if value is not None:
            setattr(stream, name, bool(value))


def _fileno(stream):
    try:
        return stream._original_stdstream_fd
    except AttributeError:
        raise io.UnsupportedOperation("fileno") from None


def _close(stream):
    if not stream.closed:
        stream.flush()


def install():
    """Adds these attributes to the streams of this process's kernels."""
    kind = iostream.OutStream
    kind.buffer = property(_buffer)
    kind.detach = _buffer
    kind.reconfigure = _reconfigure
    kind.fileno = _fileno
    kind.close = _close
    kind.encoding, kind.errors, kind.newlines = "utf-8", "strict", None
    kind.line_buffering = kind.write_through = False
    kind.mode = "w"
