"""Turns the short forms of settings into models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from . import models


def egress_of(value: models.Egress | Literal["none", "public"] | Sequence[str] | None) -> models.Egress | None:
    """Returns the network access for "none", "public" or a list of hosts."""
    if value is None or isinstance(value, models.Egress):
        return value
    if value == "none":
        return models.Egress(policy="none")
    if value == "public":
        return models.Egress(policy="public")
    return models.Egress(policy="allowlist", hosts=[value] if isinstance(value, str) else list(value))


def secrets_of(value: Sequence[models.Secret] | Mapping[str, tuple[str, str]]) -> list[models.Secret] | None:
    """Returns secrets. A mapping has (host, value) for each name."""
    if isinstance(value, Mapping):
        return [models.Secret(name=name, host=host, value=secret) for name, (host, secret) in value.items()] or None
    return list(value) or None


def limits_of(value: models.Limits | Mapping[str, Any] | None) -> models.Limits | None:
    """Returns limits. A mapping has the names of the fields of Limits."""
    return models.Limits(**value) if isinstance(value, Mapping) else value


def figures_of(value: models.Figures | Sequence[str] | None) -> models.Figures | None:
    """Returns the format of figures for a list of formats."""
    if value is None or isinstance(value, models.Figures):
        return value
    formats: list[Any] = [value] if isinstance(value, str) else list(value)
    return models.Figures(formats=formats)


def path_bytes(path: Any) -> bytes | None:
    """Returns the bytes of a path in the sandbox, from a text, bytes, or an entry that the server listed."""
    if path is None:
        return None
    escaped = getattr(path, "escaped", None)
    if escaped:
        from urllib.parse import unquote_to_bytes

        return unquote_to_bytes(escaped)
    path = getattr(path, "path", path)
    return path if isinstance(path, bytes) else str(path).encode()
