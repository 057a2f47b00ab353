"""Messages as bytes, and bytes as messages. It has the methods of jupyter_client's Session.

Headers are written by hand, because they have few fields of known form. The parent header of a message is the
request's header as it came, byte for byte. Front ends compare it with the header that they sent, which can have fields
that this module does not know.
"""

import codecs
import collections
import itertools
import json
import os
import uuid
from datetime import datetime, timezone

from traitlets import Bool, CBytes, CUnicode, Dict, Unicode
from traitlets.config.configurable import Configurable

import cellhold_encoding

from . import wire

VERSION = "5.4"  # version of the protocol in jupyter_client's messages
PARENTS = 2000   # the most requests whose headers are kept as they came

_quote = json.encoder.encode_basestring


def utcnow():
    """Returns the time, with its time zone (datetime)."""
    return datetime.now(timezone.utc)


def extract_header(msg_or_header):
    """Returns the header (dict) of a message or of a header; raises KeyError for any other dict."""
    if not msg_or_header:
        return {}
    try:
        header = msg_or_header["header"]
    except KeyError:
        msg_or_header["msg_id"]
        header = msg_or_header
    return header if isinstance(header, dict) else dict(header)


def _with_date(header):
    """Returns a header whose date is a datetime, as jupyter_client returns it."""
    if isinstance(header, dict) and isinstance(date := header.get("date"), str):
        try:
            parsed = datetime.fromisoformat(date)
            header["date"] = parsed if parsed.tzinfo else parsed.astimezone()
        except ValueError:
            pass
    return header


class Session(Configurable):
    """Builds, encodes and decodes messages of one kernel."""

    session = CUnicode(config=True, help="The id of this session in headers.")
    username = Unicode(os.environ.get("USER", "username"), config=True, help="The user's name in headers.")
    metadata = Dict(config=True, help="Metadata of every message.")
    key = CBytes(b"", config=True, help="Messages on the stream have no signature.")
    keyfile = Unicode("", config=True)
    signature_scheme = Unicode("hmac-sha256", config=True)
    debug = Bool(False, config=True)
    check_pid = Bool(True, config=True)

    auth = None
    adapt_version = 0

    def _session_default(self):
        return str(uuid.uuid4())

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.pid = os.getpid()
        self._count = itertools.count()
        self._parents = collections.OrderedDict()  # headers (bytes) by msg_id
        # Decode the bytes of programs, so that a character that comes in two pieces stays whole.
        self.decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}
        self._names = None  # session and username, and their part of a header in JSON

    bsession = property(lambda self: self.session.encode())

    @property
    def msg_id(self):
        return f"{self.session}_{self.pid}_{next(self._count)}"

    def clone(self):
        """Returns a Session with the same ids."""
        return type(self)(session=self.session, username=self.username, metadata=self.metadata)

    # Messages as dicts.

    def msg_header(self, msg_type):
        return {"msg_id": self.msg_id, "msg_type": msg_type, "username": self.username, "session": self.session,
                "date": utcnow(), "version": VERSION}

    def msg(self, msg_type, content=None, parent=None, header=None, metadata=None):
        """Returns a message (dict)."""
        header = self.msg_header(msg_type) if header is None else header
        return {"header": header, "msg_id": header["msg_id"], "msg_type": header["msg_type"],
                "parent_header": {} if parent is None else extract_header(parent),
                "content": {} if content is None else content,
                "metadata": {**self.metadata, **(metadata or {})}}

    # Bytes.

    def pack(self, value):
        return cellhold_encoding.pack(value)

    def unpack(self, data):
        return json.loads(data if isinstance(data, str) else bytes(data).decode("utf8", "replace"))

    def sign(self, parts):
        return b""

    def encode_header(self, header):
        """Returns a header (dict) as JSON (bytes)."""
        names = header.get("session"), header.get("username")
        if self._names is None or self._names[0] != names:
            self._names = names, ',"username":%s,"session":%s,"date":"' % (_quote(str(names[1])), _quote(str(names[0])))
        date = header.get("date")
        if len(header) != 6 or not isinstance(date, datetime):
            return self.pack(header)
        date = date.isoformat().replace("+00:00", "Z")
        return ('{"msg_id":%s,"msg_type":%s%s%s","version":%s}' % (
            _quote(str(header["msg_id"])), _quote(str(header["msg_type"])), self._names[1], date,
            _quote(str(header["version"])))).encode("utf8", "replace")

    def encode_parent(self, header):
        """Returns a parent header (dict) as JSON (bytes)."""
        if not header:
            return b"{}"
        return self._parents.get(header.get("msg_id")) or self.pack(header)

    def serialize(self, msg, ident=None):
        """Returns the parts of a message (list of bytes)."""
        content = msg.get("content", {})
        if isinstance(content, str):
            content = content.encode()
        elif not isinstance(content, bytes):
            content = self.pack(content or {})
        metadata = msg["metadata"]
        return [self.encode_header(msg["header"]), self.encode_parent(msg["parent_header"]),
                self.pack(metadata) if metadata else b"{}", content]

    def feed_identities(self, parts, copy=True):
        return [], parts

    def deserialize(self, parts, content=True, copy=True):
        """Returns a message (dict) from its parts (list of bytes). Raises an exception if the parts are no message."""
        header = self.unpack(parts[0])
        message = {"msg_id": header["msg_id"], "msg_type": header["msg_type"], "header": _with_date(header),
                   "parent_header": _with_date(self.unpack(parts[1])), "metadata": self.unpack(parts[2]),
                   "content": self.unpack(parts[3]) if content else parts[3],
                   "buffers": [memoryview(part) for part in parts[4:]]}
        if len(self._parents) >= PARENTS:
            self._parents.popitem(last=False)
        self._parents[header["msg_id"]] = bytes(parts[0])
        return message

    def send(self, stream, msg_or_type, content=None, parent=None, ident=None, buffers=None, track=False, header=None,
             metadata=None):
        """Sends a message, and returns it (dict). If stream is None, it only builds the message."""
        if isinstance(msg_or_type, dict):
            msg = msg_or_type
            buffers = buffers or msg.get("buffers", [])
        else:
            msg = self.msg(msg_or_type, content, parent, header, metadata)
        parts = self.serialize(msg)
        for buffer in buffers or ():
            view = memoryview(buffer)
            if not view.contiguous:
                raise ValueError(f"Buffer {len(parts) - 4} ({buffer!r}) is not contiguous")
            parts.append(view.tobytes())
        if stream is not None:
            stream.send_parts(parts)
        return msg

    def send_raw(self, stream, msg_list, flags=0, copy=True, ident=None):
        """Sends the parts of a message."""
        stream.send_parts([bytes(part) for part in msg_list])

    def recv(self, socket, mode=0, content=True, copy=True):
        """Returns an empty list of identities and the next message of a channel, or None and None without a message."""
        parts = socket.receive()
        return (None, None) if parts is None else ([], self.deserialize(parts, content))

    def text_frames(self, texts):
        """Makes frames (list of bytes) of text: tuples of the name of a stream, a parent header, and a str or the bytes
        that a program wrote. The text of one stream and one parent becomes one message, or several if it is long."""
        joined = {}
        for name, parent, text in texts:
            if type(text) is bytes:
                text = self.decoders[name].decode(text)
            key = name, parent.get("msg_id")
            if key in joined:
                joined[key][1].append(text)
            else:
                joined[key] = parent, [text]
        frames = []
        # Standard output comes first, because ipykernel flushes the streams in that order.
        for (name, _), (parent, pieces) in sorted(joined.items(), key=lambda item: item[0][0], reverse=True):
            for piece in cellhold_encoding.pieces("".join(pieces)):
                frames.append(self.text_frame(name, parent, piece))
        return frames

    def text_frame(self, name, parent, text):
        """Returns the frame (bytes) of one stream message."""
        content = cellhold_encoding.utf8('{"name":"%s","text":%s}' % (name, _quote(text)))
        return wire.encode(wire.IOPUB, [self.encode_header(self.msg_header("stream")), self.encode_parent(parent),
                                        self.pack(self.metadata) if self.metadata else b"{}", content])


# Names that applications import from jupyter_client's module.

session_aliases = {"ident": "Session.session", "user": "Session.username", "keyfile": "Session.keyfile"}
session_flags = {
    "secure": ({"Session": {"key": b"", "keyfile": ""}}, "Messages on the stream have no signature."),
    "no-secure": ({"Session": {"key": b"", "keyfile": ""}}, "Messages on the stream have no signature."),
}
