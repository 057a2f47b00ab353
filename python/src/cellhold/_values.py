"""Turns JSON into the dataclasses of models, and back."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import InternalError

T = TypeVar("T")

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def decode(cls: type[T], data: Any) -> T:
    """Returns an object of a model's class from the JSON of an answer. Unknown fields are ignored.

    Raises InternalError if the answer has another form.
    """
    try:
        found: T = _decode(cls, data)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise InternalError(f"The server sent a {cls.__name__} that cannot be read: {error}.") from error
    return found


def _decode(hint: Any, data: Any) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(data, Mapping):
            raise TypeError(f"{hint.__name__} is not an object")
        hints = _hints(hint)
        return hint(**{f.name: _decode(hints[f.name], data[f.name]) for f in fields(hint) if f.name in data})
    if data is None or hint is Any:
        return data
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _decode_any(get_args(hint), data)
    if origin is list:
        if not isinstance(data, list):
            raise TypeError("a list is missing")
        return [_decode(get_args(hint)[0], value) for value in data]
    if origin is dict:
        return {key: _decode(get_args(hint)[1], value) for key, value in data.items()}
    if hint is datetime:
        return time(data)
    if hint in (str, int, float, bool):
        return _plain(hint, data)
    return data


def _decode_any(hints: tuple[Any, ...], data: Any) -> Any:
    """Decodes a value that can have several types. Only plain types are in unions of this API."""
    others = [hint for hint in hints if hint is not type(None)]
    if len(others) == 1:
        return _decode(others[0], data)
    return data


def _plain(hint: type[Any], data: Any) -> Any:
    if hint is float and isinstance(data, int):
        return float(data)
    if not isinstance(data, hint) or (hint is int and isinstance(data, bool)):
        raise TypeError(f"{str(data)[:40]!r} is not of the type {hint.__name__}")
    return data


def time(text: str) -> datetime:
    """Returns a time of RFC 3339. Digits after the microseconds are dropped."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a time")
    base, fraction, zone = match.groups()
    at = datetime.fromisoformat(base + ("+00:00" if zone == "Z" else zone))
    return at.astimezone(timezone.utc) + timedelta(microseconds=int((fraction or ".0")[1:7].ljust(6, "0")))


def encode(value: Any) -> Any:
    """Returns the JSON form of a value. Fields and keys whose value is None are omitted."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in fields(value))
        return {name: encode(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value
