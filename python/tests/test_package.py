"""The package as a whole: generated files, coverage of the API, names and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generate
import models
import pytest
import unasync
import yaml

import cellhold
from cellhold import _operations

PACKAGE = Path(cellhold.__file__).parent


def test_the_generated_files_are_those_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cellhold.__version__ in (PACKAGE.parents[1] / "pyproject.toml").read_text()
    assert (
        unasync.synchronous("async def f(): return await AsyncSession().aclose()")
        == "def f(): return Session().close()"
    )
    monkeypatch.setattr(generate, "PACKAGE", tmp_path)
    (tmp_path / "a.py").write_text("1")
    other = tmp_path / "other"
    other.mkdir()
    assert generate.differences(other) != []


def test_the_package_uses_each_operation_of_the_document() -> None:
    source = "".join(file.read_text() for file in (PACKAGE / "_async").glob("*.py"))
    used = set(re.findall(r"\bop\.([A-Z_]+)\b", source))
    assert used == {name for name in vars(_operations) if name.isupper() and name != "ALL"}
    document = yaml.safe_load((generate.ROOT / "api" / "openapi.yaml").read_text())
    items = [item for path, item in document["paths"].items() if path.startswith("/v1/")]
    ids = {operation["operationId"] for item in items for operation in item.values()}
    assert ids == {operation.id for operation in _operations.ALL} | set(models.LEFT_OUT)
    assert len(_operations.ALL) == len(used) == len(ids) - len(models.LEFT_OUT)


def test_the_readme_names_the_operations_that_the_package_does_not_have() -> None:
    readme = (generate.ROOT / "python" / "README.md").read_text()
    assert [id for id in models.LEFT_OUT if f"`{id}`" not in readme] == []


def public() -> Iterator[tuple[str, Any]]:
    """Yields the public names, and those of their classes and of the nouns of a session."""
    nouns = ["cells", "files", "commands", "kernels", "packages", "ports", "checkpoints", "egress", "notebook"]
    session = cellhold.Session("http://server", "t")
    found = {name: getattr(cellhold, name) for name in cellhold.__all__ if name != "__version__"}
    found |= {noun: type(getattr(session, noun)) for noun in nouns}
    for name, value in found.items():
        yield name, value
        if inspect.isclass(value) and value.__module__ != "cellhold.models":
            for member, inner in vars(value).items():
                if not member.startswith("_") and (callable(inner) or isinstance(inner, (property, classmethod))):
                    yield f"{name}.{member}", inner


def test_every_public_name_has_a_docstring() -> None:
    names = dict(public())
    assert len(names) > 150
    assert [name for name, value in names.items() if not inspect.getdoc(value)] == []


@pytest.mark.parametrize("name", ["Session", "Client", "Cell", "Command", "Kernel", "Stream"])
def test_both_halves_have_the_same_names_and_arguments(name: str) -> None:
    one, other = getattr(cellhold, name), getattr(cellhold, "Async" + name)
    renamed = {member: unasync.synchronous(member) for member in dir(other)}
    renamed["aclose"] = "close"
    own = [member for member in dir(other) if not member.startswith("_")]
    assert {renamed[member] for member in own} == {member for member in dir(one) if not member.startswith("_")}
    for member in own:
        if inspect.isfunction(getattr(other, member)):
            arguments = inspect.signature(getattr(one, renamed[member])).parameters
            assert list(arguments) == list(inspect.signature(getattr(other, member)).parameters)
