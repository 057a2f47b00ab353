"""The server of the tests: the environment names it. test/e2e/python_test.go starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cellhold

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

for name in [name for name in os.environ if name in ("CELLHOLD_URL", "CELLHOLD_TOKEN")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def server() -> dict[str, str]:
    """The URL and the token of a server with real sandboxes."""
    url, token = os.environ.get("CELLHOLD_TEST_URL"), os.environ.get("CELLHOLD_TEST_TOKEN")
    if not url or not token:
        pytest.fail("CELLHOLD_TEST_URL and CELLHOLD_TEST_TOKEN must name a server; go test ./test/e2e -run Python does")
    return {"url": url, "token": token}


@pytest.fixture(scope="session")
def session(server: dict[str, str]) -> Iterator[cellhold.Session]:
    """A session for tests that leave it usable."""
    with cellhold.Session(**server) as made:
        yield made
