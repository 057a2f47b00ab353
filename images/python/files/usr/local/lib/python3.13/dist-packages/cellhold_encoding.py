"""Encodes every message of a kernel, whatever values the code put into it.

A message that cannot be encoded is lost. All text that was printed before it is lost too, or the reply for which the
caller waits. JSON has no lone surrogates, no NaN, no tuples as keys and no Python objects. Python's own encoder is
tried first, so valid messages cost nothing extra. If it fails, each invalid value is replaced; valid values stay.
"""

import base64
import datetime
import itertools
import json
import numbers
from collections.abc import Iterable, Mapping

DEPTH = 64        # levels of lists and objects; a notebook can hold 100, and its own structure needs some
VALUES = 1 << 20  # values of one message that are cleaned; the rest is left out
LONGEST = 10_000  # characters of the repr of an object that JSON does not know
PIECE = 64 << 10  # characters of one message of text


def default(value):
    """Returns a value of JSON for one that Python's encoder does not know, as jupyter_client does."""
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo else value.astimezone()).isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Iterable):
        return list(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{value!r} is not JSON serializable")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=default).encode


def pack(message):
    """Returns the message (a dict) as JSON (bytes in UTF-8). No value makes it fail."""
    try:
        text = _encode(message)
    except Exception:  # the code of a value can raise any exception
        text = _encode(_Cleaner().clean(message, 0))
    return utf8(text)


def utf8(text):
    """Returns the text in UTF-8 (bytes), with the character of each surrogate pair and U+FFFD for each lone surrogate."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def pieces(text):
    """Yields a text in pieces of about PIECE characters. It never splits a surrogate pair, which is one character."""
    start = 0
    while start < len(text):
        end = start + PIECE
        if end < len(text) and "\ud800" <= text[end - 1] <= "\udbff":
            end += 1
        yield text[start:end]
        start = end


class _Cleaner:
    """Converts all values of one message to types of JSON."""

    def __init__(self):
        self.left = VALUES
        self.around = set()  # ids of the containers around the current value

    def clean(self, value, depth):
        self.left -= 1
        if value is None or value is True or value is False or type(value) is str:
            return value
        try:
            return self._convert(value, depth)
        except Exception:  # from the code of the value, or from a stack that is too deep
            return _described(value)

    def _convert(self, value, depth):
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, numbers.Integral):
            return _integer(int(value))
        if isinstance(value, numbers.Real):
            return _real(float(value))
        if isinstance(value, (datetime.datetime, datetime.date)):
            return default(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return base64.b64encode(value).decode()
        if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
            value = value.tolist()
            if not isinstance(value, list):
                return self.clean(value, depth)
        if isinstance(value, (Mapping, Iterable)):
            return self._container(value, depth)
        return _described(value)

    def _container(self, value, depth):
        if depth >= DEPTH or self.left <= 0 or id(value) in self.around:
            return "…"
        self.around.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._object(value, depth + 1)
            return [self.clean(v, depth + 1) for v in itertools.islice(value, max(self.left, 0))]
        finally:
            self.around.discard(id(value))

    def _object(self, mapping, depth):
        clean = {}
        for key, value in itertools.islice(mapping.items(), max(self.left, 0)):
            name = _key(key)
            if name not in clean or isinstance(key, str):  # a string wins over other keys with the same text
                clean[name] = self.clean(value, depth)
        return clean


def _key(key):
    """Returns the key as Python's encoder writes it, or the text of a key that the encoder refuses (str)."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, (bool, int, float)):
        try:
            return json.dumps(key)
        except Exception:
            return _described(key)
    try:
        return str(key)[:LONGEST]
    except Exception:
        return _described(key)


def _integer(number):
    try:
        int.__repr__(number)
    except ValueError:  # more digits than Python converts
        return hex(number)
    return number


def _real(number):
    """Returns the number, or its name in JavaScript if JSON cannot express it."""
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _described(value):
    try:
        return repr(value)[:LONGEST]
    except Exception:
        return f"<unprintable {type(value).__name__} object>"


def install():
    """Makes the kernels of this process encode their messages this way."""
    from jupyter_client import session
    session.json_packer = pack  # Session uses it for the packer name "json"
    session.Session.pack.default_value = pack
