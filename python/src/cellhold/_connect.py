"""Finds the server: arguments, environment, a server on this machine, or a private one."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from . import _private
from .errors import InvalidError, UnavailableError

DEFAULT_URL = "http://127.0.0.1:5002"
"""The address of a server with default settings."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_MAX_TOKENS = 1 << 20
"""Maximum bytes of a token file."""


class Place(NamedTuple):
    """Where a server is, and the token for it."""

    url: str
    token: str
    private: bool = False

    @property
    def on_loopback(self) -> bool:
        """True if the server is on this machine, so that no proxy can reach it."""
        return urlsplit(self.url).hostname in _LOOPBACK


def find(url: str | None = None, token: str | None = None, *, local: bool = False, binary: str | None = None) -> Place:
    """Returns the place of the server.

    The first of these that exists: the arguments; CELLHOLD_URL and CELLHOLD_TOKEN; a server on this machine whose
    token this user can read; a private server, which ends with this process. With local, only the last one.

    Raises InvalidError for an invalid URL or token, and UnavailableError if no server is found or can start.
    """
    if local:
        if url or token:
            raise InvalidError("local=True starts a private server and takes no url and no token.")
        return Place(*_private.start(binary), private=True)
    url = url or os.environ.get("CELLHOLD_URL")
    if url:
        return checked(Place(url, token or os.environ.get("CELLHOLD_TOKEN") or token_for(url)))
    found = on_this_machine(token)
    if found:
        return found
    try:
        return Place(*_private.start(binary), private=True)
    except UnavailableError as error:
        raise UnavailableError(
            f"No server is found. Give url and token, or set CELLHOLD_URL and CELLHOLD_TOKEN, "
            f"or start one with cellhold serve. A private server does not start: {error.detail}"
        ) from error


def checked(place: Place) -> Place:
    """Returns a place whose URL and token can be used. Raises InvalidError."""
    parts = urlsplit(place.url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.username or parts.query or parts.fragment:
        raise InvalidError(f"Invalid server URL {place.url!r}: use a URL such as {DEFAULT_URL}.")
    if any(letter <= " " or letter > "~" for letter in place.token):
        raise InvalidError("The token has a space or a line break. Use only the token, without its name.")
    return place._replace(url=place.url.rstrip("/"))


def on_this_machine(token: str | None) -> Place | None:
    """Returns the server at the default address, if it accepts the token or one that this user can read."""
    token = token or os.environ.get("CELLHOLD_TOKEN") or readable_token()
    if not token:
        return None
    place = checked(Place(DEFAULT_URL, token))
    try:
        with httpx.Client(timeout=2, trust_env=False) as http:
            answer = http.get(f"{place.url}/v1/version", headers={"Authorization": f"Bearer {token}"})
            return place if answer.status_code == 200 and "api" in answer.json() else None
    except (httpx.HTTPError, ValueError, TypeError):
        return None


def token_for(url: str) -> str:
    """Returns the readable token for a server of this machine. Other servers never get it."""
    return readable_token() if Place(url, "").on_loopback else ""


def readable_token() -> str:
    """Returns the first token in a home that this user can read, or ""."""
    for home in homes(os.environ, os.geteuid() if hasattr(os, "geteuid") else 1, Path.home()):
        try:
            with open(home / "token", "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    continue
                text = file.read(_MAX_TOKENS).decode("ascii", "replace")
        except OSError:
            continue
        for line in text.splitlines():
            words = line.split()
            if len(words) == 2 and not line.startswith("#"):
                return words[1]
    return ""


def homes(environ: Mapping[str, str], uid: int, user: Path) -> list[Path]:
    """Returns the folders in which a server of this machine keeps its token, as the command line finds them."""
    if environ.get("CELLHOLD_HOME"):
        return [Path(environ["CELLHOLD_HOME"])]
    system = Path("/var/lib/cellhold")
    if uid == 0:
        return [system]
    state = Path(environ.get("XDG_STATE_HOME", ""))
    return [(state if state.is_absolute() else user / ".local" / "state") / "cellhold", system]
