"""The server and the script of the tests of adapters. test/e2e/adapters_test.go starts the server.

A scripted model of each framework asks for the cells of the demo, one after another. The third has a mistake, and the
last draws the plot.
"""

from __future__ import annotations

import gc
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cellhold
from cellhold.adapters import Conversations

ROOT = Path(__file__).parents[2]
CELLS = [file.read_text() for file in sorted((ROOT / "demo" / "cells").glob("*.py"))]
QUESTION = "How are the bills of penguins related?"

gc.disable()  # the frameworks have 4500 modules, and their import takes a quarter less time

sys.path[:0] = [str(ROOT / "python" / "examples"), str(ROOT / "python" / "tests")]


@pytest.fixture
def client() -> Iterator[cellhold.Client]:
    """A client of the server, on which no session is left after the test."""
    if not os.environ.get("CELLHOLD_URL"):
        pytest.fail("CELLHOLD_URL must name a server; go test ./test/e2e -run Adapters starts one")
    with cellhold.Client() as client:
        yield client
        assert client.sessions() == []


@pytest.fixture
def conversations(client: cellhold.Client) -> Iterator[Conversations]:
    """Sessions that end with the test. Calls outside a graph share one."""
    with Conversations(shared=True) as conversations:
        yield conversations


def check(texts: list[str], images: list[bytes]) -> None:
    """Checks what a model got: one text for each cell, and the plot."""
    assert len(texts) == len(CELLS) == 5
    assert "344 penguins" in texts[0] and "Gentoo" in texts[0]
    assert "KeyError: 'specie'" in texts[2] and "\x1b" not in texts[2]
    assert "Simpson's paradox" in texts[3]  # variables of earlier cells are there
    assert len(images) == 1 and images[0].startswith(b"\x89PNG")
    assert min(struct.unpack(">II", images[0][16:24])) > 700
