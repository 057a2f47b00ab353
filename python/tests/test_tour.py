"""The tour with real sandboxes, in both halves of the package."""

from __future__ import annotations

import asyncio
import os
import types
from pathlib import Path
from typing import Any

import pytest
import tour
import unasync

from cellhold import _operations
from cellhold._async import ports as async_ports
from cellhold._async import transport as async_transport
from cellhold._sync import ports as sync_ports
from cellhold._sync import transport as sync_transport


@pytest.fixture(scope="module")
def used() -> set[str]:
    """The operations that the tours used."""
    return set()


@pytest.fixture(params=["async", "sync"])
def half(request: pytest.FixtureRequest, used: set[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the tour for one half, whose functions can be called."""
    transport: Any = {"async": async_transport, "sync": sync_transport}[request.param]

    class Recorded(transport._Request):  # type: ignore[misc]
        def __init__(self, operation: Any, *more: Any, **named: Any) -> None:
            used.add(f"{request.param} {operation.id}")
            super().__init__(operation, *more, **named)

    ports: Any = {"async": async_ports, "sync": sync_ports}[request.param]
    for module in (transport, ports):
        monkeypatch.setattr(module, "_Request", Recorded)
    if request.param == "async":
        return types.SimpleNamespace(
            tour=lambda *more: asyncio.run(tour.tour(*more)), network=lambda *more: asyncio.run(tour.network(*more))
        )
    program = types.ModuleType("synchronous")
    program.__file__ = tour.__file__
    text = Path(tour.__file__).read_text()
    exec(compile(unasync.synchronous(text), "tour.py, synchronous", "exec"), program.__dict__)
    return program


@pytest.mark.sandbox
def test_a_program_uses_everything(half: Any, server: dict[str, str], tmp_path: Path) -> None:
    half.tour(server, tmp_path)


@pytest.mark.sandbox
def test_a_program_uses_packages_and_the_network(half: Any, server: dict[str, str]) -> None:
    half.network(server, os.environ["CELLHOLD_TEST_WEB"])


@pytest.mark.sandbox
def test_the_tours_use_each_operation_of_the_document(used: set[str]) -> None:
    assert used == {f"{half} {operation.id}" for half in ("async", "sync") for operation in _operations.ALL}
