"""Where the package finds its server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import cellhold
from cellhold import _connect, _private
from cellhold._connect import Place

ALONE = Place("http://127.0.0.1:1", "private", True)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a server. A private one would be at ALONE."""
    for name in ("CELLHOLD_URL", "CELLHOLD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path))
    monkeypatch.setattr(_connect, "on_this_machine", lambda token: None)
    monkeypatch.setattr(_private, "start", lambda binary: ALONE[:2])
    return tmp_path


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLHOLD_URL", "http://environment")
    monkeypatch.setenv("CELLHOLD_TOKEN", "two")
    assert _connect.find("https://argument/", "one") == Place("https://argument", "one")
    assert _connect.find("https://argument") == Place("https://argument", "two")
    assert _connect.find() == Place("http://environment", "two")


def test_a_server_of_this_machine_comes_before_a_private_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _connect.find() == ALONE
    here = Place("http://127.0.0.1:5002", "t")
    monkeypatch.setattr(_connect, "on_this_machine", lambda token: here)
    assert _connect.find() == here
    assert _connect.find(local=True) == ALONE


def test_the_token_of_this_machine_goes_to_no_other_machine(machine: Path) -> None:
    (machine / "token").write_text("# names\n\ndefault 0123\nother 4567\n")
    assert _connect.find("http://localhost:5002").token == "0123"
    assert _connect.find("http://example.org").token == ""


def test_homes_are_those_of_the_command_line() -> None:
    user = Path("/home/ann")
    assert _connect.homes({}, 0, user) == [Path("/var/lib/cellhold")]
    assert _connect.homes({}, 1, user) == [user / ".local/state/cellhold", Path("/var/lib/cellhold")]
    assert _connect.homes({"XDG_STATE_HOME": "/s"}, 1, user)[0] == Path("/s/cellhold")
    assert _connect.homes({"CELLHOLD_HOME": "/h"}, 0, user) == [Path("/h")]


@pytest.mark.parametrize("url", ["server", "ftp://a", "http://", "http://u:p@a", "http://a?b", "http://a#b"])
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(cellhold.InvalidError, match="Invalid server URL"):
        _connect.find(url)


def test_a_token_with_a_space_is_refused() -> None:
    with pytest.raises(cellhold.InvalidError, match="Use only the token"):
        _connect.find("http://a", "default 0123")
    with pytest.raises(cellhold.InvalidError, match="local=True"):
        _connect.find("http://a", local=True)


def test_without_a_program_the_error_names_every_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path))
    monkeypatch.setattr(_connect, "DEFAULT_URL", "http://127.0.0.1:1")
    with pytest.raises(cellhold.UnavailableError, match=r"CELLHOLD_URL .* pip install 'cellhold\[server\]'"):
        _connect.find()


def test_a_program_that_does_not_serve_gives_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    program = tmp_path / "cellhold"
    program.write_text("#!/bin/sh\necho the disk is full >&2\nexit 1\n")
    os.chmod(program, 0o755)
    with pytest.raises(cellhold.UnavailableError, match="the disk is full"):
        _private.start(str(program))


def test_a_proxy_is_not_used_for_a_server_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:1")
    for url, proxies in (("http://127.0.0.1:5002", 0), ("http://localhost", 0), ("http://example.org", 1)):
        with cellhold.Client(url, "t") as client:
            assert len(client._transport.open()._mounts) == proxies
